//! mainstem-crypto
