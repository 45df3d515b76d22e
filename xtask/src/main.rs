//! Checks of this repository that no published tool makes. Each subcommand is one step of `./test`.
//!
//! No check of behavior: those are tests of the crates.

use std::process::ExitCode;

use anyhow::Result;

mod style;

const USAGE: &str = "usage: cargo run -p xtask -- style";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["style"] => run_style(),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn run_style() -> Result<ExitCode> {
    let report = style::check()?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("style: {} files, {} findings", report.files, report.findings.len());
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
