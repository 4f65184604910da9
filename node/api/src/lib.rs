//! mainstem-api
