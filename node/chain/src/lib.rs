//! mainstem-chain
