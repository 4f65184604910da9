//! mainstem-model
