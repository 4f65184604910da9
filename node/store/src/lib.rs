//! mainstem-store
