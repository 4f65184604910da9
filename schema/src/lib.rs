//! mainstem-schema
