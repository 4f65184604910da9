//! The process that compiles plugins, for tests: a daemon does the same in a hidden subcommand.

fn main() -> std::process::ExitCode {
    mainstem_plugin_host::compile_in_child()
}
