//! Cutting a broker off from the others: rules of the kernel that drop what goes to and from its port.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Rules in a table of their own, which goes when this is dropped.
pub(crate) struct Wall(String);

impl Wall {
    /// Why it cannot be had, else.
    pub(crate) fn new() -> Result<Self, String> {
        let table = format!("mainstem_test_{}", std::process::id());
        // Of an earlier process with this number that could not clear up.
        drop(nft(&format!("delete table inet {table}\n")));
        nft(&format!(
            "add table inet {table}\nadd chain inet {table} input {{ type filter hook input priority 0; policy accept; }}\n"
        ))?;
        Ok(Self(table))
    }

    /// Nothing goes to this UDP port or from it.
    pub(crate) fn cut(&self, port: u16) {
        let table = &self.0;
        let rules =
            ["sport", "dport"].map(|end| format!("add rule inet {table} input udp {end} {port} drop\n"));
        nft(&rules.concat()).unwrap();
    }

    /// All goes again.
    pub(crate) fn open(&self) {
        nft(&format!("flush chain inet {} input\n", self.0)).unwrap();
    }
}

impl Drop for Wall {
    fn drop(&mut self) {
        drop(nft(&format!("delete table inet {}\n", self.0)));
    }
}

fn nft(script: &str) -> Result<(), String> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft cannot be run: {error}"))?;
    child.stdin.take().unwrap().write_all(script.as_bytes()).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("nft: {said}")) }
}
