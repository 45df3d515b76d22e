//! Client/server as everybody has it: nginx with `sendfile`, and a curl for each receiver.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    CommandLine, Facts, Place, Process, Program, ProgramError, Receiver, Stage, installed,
    torrent::write,
};
use crate::{record::Missing, scenario::Mode};

const PORT: u16 = 8080;
const PARTS: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// A server, and clients that come and go.
#[derive(Debug, Default)]
pub(super) struct NginxCurl {
    log: PathBuf,
}

/// Whether both are installed.
pub(super) fn look(mode: Mode) -> Result<Facts, Missing> {
    let [nginx, curl] = installed::find(mode, [("nginx", "nginx-light"), ("curl", "curl")])?;
    let versions = [installed::version(&nginx, &["-v"]), installed::version(&curl, &["--version"])];
    let first_words = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    Ok(Facts {
        version: Some(versions.iter().flatten().map(first_words).collect::<Vec<_>>().join(", ")),
        note: None,
    })
}

impl NginxCurl {
    fn settings(&self, stage: &Stage<'_>, place: &Place) -> String {
        let work = stage.work.display();
        let root = stage.content.parent().unwrap_or(Path::new("/")).display();
        let parts =
            PARTS.map(|part| format!("  {part}_temp_path \"{work}/nginx-{part}\";\n")).concat();
        format!(
            "daemon off; worker_processes 2; pid \"{work}/nginx.pid\"; error_log stderr error; user root;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             {parts}\
               log_format sent '$body_bytes_sent'; access_log \"{log}\" sent;\n\
               sendfile on; tcp_nopush on; default_type application/octet-stream;\n\
               server {{ listen {address}:{PORT}; root \"{root}\"; }}\n\
             }}\n",
            log = self.log.display(),
            address = place.address,
        )
    }
}

fn url(stage: &Stage<'_>, origin: &Place) -> String {
    format!("http://{}:{PORT}/{}", origin.address, stage.file_name().to_string_lossy())
}

impl Program for NginxCurl {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        let [place] = &*stage.origins else {
            return Err(ProgramError::Senseless {
                program: "nginx+curl".to_owned(),
                said: "has one origin only".to_owned(),
            });
        };
        self.log = stage.work.join("nginx.log");
        let settings = stage.work.join("nginx.conf");
        write(&settings, &self.settings(stage, place))?;
        let line = CommandLine::new(installed::path_of("nginx"))
            .arg("-p")
            .arg(stage.work)
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(settings);
        let nginx = stage.start(place, &line)?;
        let probe = ["-q", "-sfI", "--retry", "50", "--retry-connrefused", "--retry-delay", "1"];
        let probed = stage.run(place, &CommandLine::new("curl").args(probe).arg(url(stage, place)));
        // What nginx says of itself tells more than what curl says.
        match nginx.ending() {
            Some(ending) => Err(ProgramError::Ended {
                program: nginx.name().to_owned(),
                said: format!("{}: {}", ending.how, nginx.last_lines()),
            }),
            None => probed,
        }
    }

    fn prepare_receiver(
        &mut self,
        stage: &Stage<'_>,
        index: usize,
    ) -> Result<Box<dyn Receiver>, ProgramError> {
        let place = &stage.receivers[index];
        let origin = &stage.origins[0];
        let copy = place.folder.join(stage.file_name());
        let line =
            CommandLine::new("curl").args(["-q", "-sSf", "-o"]).arg(&copy).arg(url(stage, origin));
        Ok(Box::new(Curl {
            process: stage.hold(place, &line)?,
            copy,
            origin: origin.address.to_string(),
        }))
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        let sum = |log: String| log.lines().map(|line| line.trim().parse::<u64>().ok()).sum();
        vec![fs::read_to_string(&self.log).ok().and_then(sum)]
    }
}

/// A client, which is complete when it has ended well.
#[derive(Debug)]
struct Curl {
    process: Arc<Process>,
    copy: PathBuf,
    origin: String,
}

impl Receiver for Curl {
    fn go(&mut self) -> Result<(), ProgramError> {
        Stage::release(&self.process)
    }

    fn process(&self) -> &Arc<Process> {
        &self.process
    }

    fn copy(&self) -> &Path {
        &self.copy
    }

    fn completed(&self) -> Option<Instant> {
        self.process.ended().filter(|_| self.process.ending().is_some_and(|ending| ending.well))
    }

    fn from(&self) -> BTreeMap<String, u64> {
        let bytes = fs::metadata(&self.copy).map(|data| data.len()).ok();
        bytes.into_iter().map(|bytes| (self.origin.clone(), bytes)).collect()
    }
}
