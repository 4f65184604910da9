//! Storage scheme `s3`: records in a bucket of any server that speaks S3, over the capability `http`.
//!
//! Requests are signed as AWS says ([`sign`]) and go to a bucket ([`Bucket`]). Records that were appended together lie in one object
//! ([`Object`]), small neighbours later in one; beside it another one names those that were trimmed. All that a call writes is on the server
//! when it returns.

mod bucket;
mod cache;
mod encode;
mod listing;
mod name;
mod object;
mod places;
mod refusal;
mod shelf;
mod sigv4;
mod store;

pub use bucket::{Bucket, Endpoint};
pub use encode::{encode, encode_path};
pub use listing::{Listing, unescaped};
pub use name::{Kind, Name, Stem};
pub use object::{Entry, Kept, Object, ObjectError, RECORDS_MAX};
pub use sigv4::{Credentials, Scope, Unsigned, amz_date, sign};
pub use store::S3;

mainstem_plugin_sdk::storage!(S3);
