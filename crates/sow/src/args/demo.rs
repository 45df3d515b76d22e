//! The options of `sow demo`.

use clap::Args;

use crate::quantity::{self, Rate, Size};

/// `sow demo`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow demo
  sow demo --receivers 3 --size 4MiB --rate 50mbit")]
pub(crate) struct DemoArgs {
    /// The largest number of receivers.
    #[arg(
        short = 'n',
        long,
        env = "SOW_RECEIVERS",
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=20)
    )]
    pub(crate) receivers: u32,
    /// The size of the file.
    #[arg(
        long,
        env = "SOW_SIZE",
        value_name = "SIZE",
        default_value = "8MiB",
        value_parser = file_size
    )]
    pub(crate) size: Size,
    /// The upload rate of every machine.
    #[arg(
        long,
        env = "SOW_RATE",
        value_name = "RATE",
        default_value = "32mbit",
        value_parser = quantity::rate
    )]
    pub(crate) rate: Rate,
}

fn file_size(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    if !(64 << 10..=1 << 30).contains(&size.0) {
        return Err("the size of the demo's file is between 64KiB and 1GiB".to_owned());
    }
    Ok(size)
}
