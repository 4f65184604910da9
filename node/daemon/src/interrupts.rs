//! The signals that end a program: ctrl-c and SIGTERM.

use std::io;
use tokio::sync::watch;

/// Counts them from when it is made, so that none is lost between the waits for two.
#[derive(Debug)]
pub(crate) struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system takes no handler.
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (count, heard) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = count.closed() => return,
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(heard))
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// None here: a system that takes no handler gives no signal.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> io::Result<Self> {
        let (count, heard) = watch::channel(0);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && !count.is_closed() {
                count.send_modify(|count| *count += 1);
            }
            count.closed().await;
        });
        Ok(Self(heard))
    }

    /// Returns when so many were heard since it was made.
    pub(crate) async fn heard(&self, wanted: u32) {
        // The other end lives as long as this one.
        let _ = self.0.clone().wait_for(|count| *count >= wanted).await;
    }
}

/// Returns at the next of them; never, if the system takes no handler.
pub(crate) async fn interrupted() {
    match Interrupts::listen() {
        Ok(interrupts) => interrupts.heard(1).await,
        Err(_) => std::future::pending().await,
    }
}
