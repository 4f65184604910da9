//! Writes the Rust of the given `.capnp` files into a folder: `generate OUT FILE…`, run in the schema folder.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let out = args.next().ok_or("usage: generate OUT FILE…")?;
    let mut command = capnpc::CompilerCommand::new();
    command.output_path(&out).default_parent_module(vec!["generated".into()]);
    for file in args {
        command.file(file);
    }
    command.run()?;
    Ok(())
}
