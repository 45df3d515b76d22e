//! `sow man`: the manual, from the same definitions as `--help`.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{
    args::{Cli, ManArgs},
    exit::{Exit, Failure},
    file_errors,
    report::Report,
};

/// Prints one page about all commands, or writes a page for each command.
///
/// # Errors
/// When a page cannot be written.
pub(crate) fn run(args: ManArgs, report: &Report) -> Result<Exit, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    match args.out {
        Some(folder) => {
            fs::create_dir_all(&folder)
                .map_err(|error| file_errors::cannot_write(&folder, &error))?;
            let written = write_pages(&root, "sow", &folder)?;
            report.note(format_args!("{written} pages in {}", folder.display()));
        }
        None => report.out_own_text(&String::from_utf8_lossy(&one_page(&root)?)),
    }
    Ok(Exit::Done)
}

/// The page of `sow`, then a section for each command.
fn one_page(root: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(root.clone()).render(&mut page).map_err(render_failure)?;
    append_commands(root, "sow", &mut page)?;
    Ok(page)
}

fn append_commands(parent: &Command, path: &str, page: &mut Vec<u8>) -> Result<(), Failure> {
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        let path = format!("{path} {}", command.get_name());
        page.extend_from_slice(format!(".SH \"{}\"\n", path.to_uppercase()).as_bytes());
        let man = Man::new(command.clone());
        man.render_description_section(page).map_err(render_failure)?;
        man.render_synopsis_section(page).map_err(render_failure)?;
        man.render_options_section(page).map_err(render_failure)?;
        man.render_extra_section(page).map_err(render_failure)?;
        append_commands(command, &path, page)?;
    }
    Ok(())
}

/// Writes `sow.1`, `sow-get.1`, `sow-torrent-create.1` and so on. Returns the number of pages.
fn write_pages(command: &Command, name: &str, folder: &Path) -> Result<usize, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .title(name.to_uppercase())
        .render(&mut page)
        .map_err(render_failure)?;
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page).map_err(|error| file_errors::cannot_write(&path, &error))?;
    let mut written = 1;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        written += write_pages(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(written)
}

fn render_failure(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot render the manual: {error}"))
}
