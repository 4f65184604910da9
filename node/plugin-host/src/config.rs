use crate::HostError;
use serde::{Deserialize, Serialize};

/// Each request has a socket.
const HTTP_REQUESTS_MAX: usize = 1 << 16;

/// Bounds of plugins. What a manifest wishes for counts up to each `_max`; without a wish it is the `_default`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of a module. A larger one is refused.
    pub module_bytes_max: usize,
    /// Seconds that compiling a module takes, of a clock and of a processor. The compiler is ended then, and the module refused.
    pub compile_seconds_max: u32,
    /// Bytes of address space of the process that compiles a module. With more the compiler ends itself, and the module is
    /// refused.
    pub compile_memory_bytes_max: u64,
    /// Bytes of memory of an instance without a wish. At the bound `memory.grow` gives −1.
    pub memory_bytes_default: u64,
    /// Bytes of memory of an instance that wishes for as much or more.
    pub memory_bytes_max: u64,
    /// Elements of each table of an instance. At the bound `table.grow` gives −1.
    pub table_elements_max: u32,
    /// Fuel of a call without a wish, about one for each instruction. At the bound the call is a fault.
    pub fuel_default: u64,
    /// Fuel of a call of a plugin that wishes for as much or more.
    pub fuel_max: u64,
    /// Milliseconds of a call without a wish. Some ms later the call is a fault.
    pub deadline_ms_default: u32,
    /// Milliseconds of a call of a plugin that wishes for as much or more.
    pub deadline_ms_max: u32,
    /// Bytes of a reply. A longer one is a fault.
    pub reply_bytes_max: u32,
    /// Bytes of a host request. A longer one is answered with `limit`.
    pub host_request_bytes_max: u32,
    /// Faults of a plugin in a minute. One more switches it off.
    pub faults_per_minute_max: u32,
    /// Lines that a plugin writes to the log in a minute. More are dropped and counted.
    pub log_lines_per_minute_max: u32,
    /// Milliseconds that a plugin waits for a contract's answer. Then it is told that there is none yet; the read goes on, and who asks
    /// again later finds the answer.
    pub chain_wait_ms_max: u32,
    /// Reads of contracts at once, of all plugins, those that nobody waits for any more included. One more is answered with
    /// `unavailable`.
    pub chain_reads_max: usize,
    /// Answers of contracts that are remembered, of all plugins. With more the oldest go, and are read again.
    pub chain_answers_max: usize,
    /// Bytes of a contract's answer. A longer one is answered with `limit`.
    pub chain_output_bytes_max: u32,
    /// Milliseconds that a plugin with `http` waits for a server, its answer's body included; they do not count as its own, but cost fuel, and
    /// a wait takes three quarters of what is left of that at most. Then it is told that there is no answer.
    pub http_wait_ms_max: u32,
    /// Requests to servers at once, of all plugins; 1 to 65,536. One more is answered with `unavailable`.
    pub http_requests_max: usize,
    /// Bytes of the body of a server's answer. A longer one is answered with `limit`.
    pub http_response_bytes_max: u32,
    /// Milliseconds that a write, with all the calls that it takes, waits for a storage that answers `unavailable`, such as one whose server is
    /// away: it is asked again, the same, after pauses of up to 2 s; none is asked again later than that. Meanwhile no other write
    /// (records, sync or trim) is done, and publishers are told that the journal is behind once that is full. Then the write has
    /// failed, and the node ends. 0: no write is asked again.
    pub storage_wait_ms_max: u32,
    /// Bytes of all files of a plugin that has `blob`. What would be more is answered with `limit`.
    pub blob_bytes_max: u64,
    /// Files of a plugin that has `blob`. One more is answered with `limit`.
    pub blob_files_max: usize,
    /// Instances of a plugin. A call waits for a free one, at most its own deadline; then it is refused as busy.
    pub instances_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Plugins in Rust have 20 to 500 KB; the largest runtimes of other languages some MB.
            module_bytes_max: 8 << 20,
            // 300 KB take 55 ms, so 8 MiB a second or two: what takes 30 is made to.
            compile_seconds_max: 30,
            // Compiling takes some 50 times the module's size in memory, beside what the program itself maps.
            compile_memory_bytes_max: 1 << 30,
            // A call's request and reply fit, and a heap for what is made of them.
            memory_bytes_default: 16 << 20,
            // With all instances at once 2 GiB: what a broker can spare for the worst of its plugins.
            memory_bytes_max: 64 << 20,
            // Tables hold what is called by pointer: some hundreds in plugins seen so far.
            table_elements_max: 10_000,
            // About 0.1 s of plain instructions: the deadline is met first by what is slower than that.
            fuel_default: 200_000_000,
            // About 1 s.
            fuel_max: 2_000_000_000,
            // A batch is on its way for less; a check of 256 signatures takes 25.
            deadline_ms_default: 100,
            // Whatever is signed so waits with it.
            deadline_ms_max: 1_000,
            // A batch of rows at its largest is 64 KiB; operators may gather some.
            reply_bytes_max: 4 << 20,
            // 1,024 signatures with certificates of 4 KB.
            host_request_bytes_max: 4 << 20,
            // A bad input now and then is not held against a plugin; one that fails at every call is off in a moment.
            faults_per_minute_max: 8,
            // One a second: more is not read, and fills disks.
            log_lines_per_minute_max: 60,
            // A public endpoint answers in 50 to 300 ms. Workers of the plugin's own wait so long, and none of anybody else's.
            chain_wait_ms_max: 400,
            // As many as a node asks an endpoint for without being taken for a flood.
            chain_reads_max: 16,
            // A batch's signature is asked for once by each of some links within seconds. 4,096 take 0.5 MB at a word each.
            chain_answers_max: 4_096,
            // Answers that plugins judge by are a word.
            chain_output_bytes_max: 4 << 10,
            // What puts 4 MB through a line of 4 Mbit/s.
            http_wait_ms_max: 10_000,
            // Some for each storage that a node may have.
            http_requests_max: 32,
            // As much as a plugin may send.
            http_response_bytes_max: 4 << 20,
            // A server that is started again is back by then, and whoever ends the node waits no longer for it either.
            storage_wait_ms_max: 60_000,
            // Some weeks of a busy partition; a node with more to keep says so.
            blob_bytes_max: 64 << 30,
            // A name takes some 100 bytes of memory. 64 GiB in files of 3 MiB are a third of it.
            blob_files_max: 1 << 16,
            // More than a node has workers; each busy operator has one too.
            instances_max: 32,
        }
    }
}

impl Config {
    /// Whether each value is one that a host can work with.
    ///
    /// # Errors
    /// [`HostError::Config`] with the first that is not.
    pub fn check(&self) -> Result<(), HostError> {
        let pairs = [
            ("memory_bytes", self.memory_bytes_default, self.memory_bytes_max),
            ("fuel", self.fuel_default, self.fuel_max),
            ("deadline_ms", self.deadline_ms_default.into(), self.deadline_ms_max.into()),
        ];
        for (name, default, max) in pairs {
            if default == 0 || default > max {
                let fault = format!("plugins.{name}_default is {default}: take 1 to {name}_max, {max}");
                return Err(HostError::Config(fault));
            }
        }
        let counts = [
            ("module_bytes_max", self.module_bytes_max as u64),
            ("compile_seconds_max", self.compile_seconds_max.into()),
            ("compile_memory_bytes_max", self.compile_memory_bytes_max),
            ("reply_bytes_max", self.reply_bytes_max.into()),
            ("chain_wait_ms_max", self.chain_wait_ms_max.into()),
            ("chain_reads_max", self.chain_reads_max as u64),
            ("chain_answers_max", self.chain_answers_max as u64),
            ("chain_output_bytes_max", self.chain_output_bytes_max.into()),
            ("http_wait_ms_max", self.http_wait_ms_max.into()),
            ("http_requests_max", self.http_requests_max as u64),
            ("http_response_bytes_max", self.http_response_bytes_max.into()),
            ("instances_max", self.instances_max as u64),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(HostError::Config(format!("plugins.{name} is 0: take 1 or more")));
        }
        let requests = self.http_requests_max;
        if requests > HTTP_REQUESTS_MAX {
            let fault = format!("plugins.http_requests_max is {requests}: take 1 to {HTTP_REQUESTS_MAX}");
            return Err(HostError::Config(fault));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_requests_than_there_are_sockets_are_no_bound() {
        let with = |http_requests_max| Config { http_requests_max, ..Config::default() }.check();
        assert!(with(65_536).is_ok());
        for wrong in [0, 65_537, usize::MAX] {
            let fault = with(wrong).unwrap_err().to_string();
            assert!(fault.contains(&format!("plugins.http_requests_max is {wrong}: take 1")), "{fault}");
        }
    }
}
