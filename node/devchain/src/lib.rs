//! mainstem-devchain
