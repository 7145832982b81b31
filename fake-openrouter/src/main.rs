//! The fake as a program: options, one line that tells where it listens, stop on a signal.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use fake_openrouter::{Config, Fake};
use lexopt::prelude::*;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: fake-openrouter [--port N] [--delay-ms N] [--seed N]

  --port N       TCP port on 127.0.0.1 (default 0: chosen by the system)
  --delay-ms N   time between the headers and the body of an answer (default 0)
  --seed N       seed of the invented texts and token counts (default 1)
";

fn main() -> Result<(), Box<dyn Error>> {
    let Some(config) = options()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let fake = Fake::start(config)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", fake.base_url())?;
    stdout.flush()?;
    wait_for_signal()?;
    Ok(())
}

/// The command line as a configuration; `None` when help was asked for.
fn options() -> Result<Option<Config>, lexopt::Error> {
    let mut config = Config::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => config.port = parser.value()?.parse()?,
            Long("delay-ms") => {
                config.default_delay = Duration::from_millis(parser.value()?.parse()?);
            }
            Long("seed") => config.seed = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(config))
}

fn wait_for_signal() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
