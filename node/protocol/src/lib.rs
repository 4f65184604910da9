//! mainstem-protocol
