//! The adapter of nginx with `sendfile`, and a curl for each receiver: ordinary client/server.

use std::{fs, path::PathBuf};

use super::{
    Adapter, CommandLine, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram, TestHost,
    context::write_file, installed,
};
use crate::{record::Missing, scenario::Mode};

const PORT: u16 = 8080;
/// The modules of nginx that need a folder for temporary files.
const TEMP_MODULES: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// nginx and curl in one run.
#[derive(Debug, Default)]
pub(super) struct NginxCurl {
    log: PathBuf,
}

/// The versions of both programs.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    let [nginx, curl] = installed::find(mode, [("nginx", "nginx-light"), ("curl", "curl")])?;
    let versions = [installed::version(&nginx, &["-v"]), installed::version(&curl, &["--version"])];
    let first_words = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    Ok(ProgramInfo {
        version: Some(versions.iter().flatten().map(first_words).collect::<Vec<_>>().join(", ")),
        note: None,
    })
}

impl NginxCurl {
    fn settings(&self, context: &ProgramContext<'_>, host: &TestHost) -> String {
        let work = context.work.display();
        let root = context.content_folder().display();
        let temp_paths = TEMP_MODULES
            .map(|module| format!("  {module}_temp_path \"{work}/nginx-{module}\";\n"))
            .concat();
        format!(
            "daemon off; worker_processes 2; pid \"{work}/nginx.pid\"; error_log stderr error; \
             user root;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             {temp_paths}\
               log_format sent '$body_bytes_sent'; access_log \"{log}\" sent;\n\
               sendfile on; tcp_nopush on; default_type application/octet-stream;\n\
               server {{ listen {address}:{PORT}; root \"{root}\"; }}\n\
             }}\n",
            log = self.log.display(),
            address = host.address,
        )
    }
}

fn url(context: &ProgramContext<'_>, origin: &TestHost) -> String {
    format!("http://{}:{PORT}/{}", origin.address, context.file_name().to_string_lossy())
}

impl Adapter for NginxCurl {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let [host] = &*context.origins else {
            return Err(ProgramError::Unusable {
                program: "nginx+curl".to_owned(),
                reason: "has one origin only".to_owned(),
            });
        };
        self.log = context.work.join("nginx.log");
        let settings = context.work.join("nginx.conf");
        write_file(&settings, &self.settings(context, host))?;
        let line = CommandLine::new(installed::path_of("nginx"))
            .arg("-p")
            .arg(context.work)
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(settings);
        let nginx = context.start(host, &line)?;
        let probe = ["-q", "-sfI", "--retry", "50", "--retry-connrefused", "--retry-delay", "1"];
        let probed =
            context.run(host, &CommandLine::new("curl").args(probe).arg(url(context, host)));
        // The output of nginx is more useful than that of curl.
        match nginx.ending() {
            Some(ending) => Err(ProgramError::Ended {
                program: nginx.name().to_owned(),
                output: format!("{}: {}", ending.description, nginx.last_lines()),
            }),
            None => probed,
        }
    }

    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host = &context.receivers[index];
        let origin = &context.origins[0];
        let copy = host.folder.join(context.file_name());
        let line = CommandLine::new("curl").args(["-q", "-sSf", "-o"]).arg(&copy);
        let process = context.start_held(host, &line.arg(url(context, origin)))?;
        Ok(ReceiverProgram::with_clean_exit(process, copy, origin.address.to_string()))
    }

    fn payload_sent(&mut self, _context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        let sum = |log: String| log.lines().map(|line| line.trim().parse::<u64>().ok()).sum();
        vec![fs::read_to_string(&self.log).ok().and_then(sum)]
    }
}
