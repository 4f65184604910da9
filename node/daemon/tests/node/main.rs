//! A whole node as a process of its own, used as its users do.

mod crash;
mod delivery;
mod process;
mod rights;
