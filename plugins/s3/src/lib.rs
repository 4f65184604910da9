//! Records in a bucket of any server that speaks S3: what a storage plugin over the capability `http` stands on.
//!
//! What it is: requests signed as AWS says ([`sign`]), a bucket behind them ([`Bucket`]), and how records lie in objects ([`Object`]).
//! What it is not yet: the storage plugin itself, which takes the node's side of storage.

mod bucket;
mod encode;
mod listing;
mod object;
mod sigv4;

pub use bucket::{Bucket, Endpoint};
pub use encode::{encode, encode_path};
pub use listing::{Listed, Listing};
pub use object::{Entry, Kept, Object, ObjectError, RECORDS_MAX, name_of, place_of};
pub use sigv4::{Credentials, Scope, Unsigned, amz_date, sign};
