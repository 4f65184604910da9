//! mainstem-structure
