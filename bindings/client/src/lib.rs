//! mainstem-client
