//! `switchyard simulate FILE`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Exit, Output, OutputFormat, chain, complain, say, say_json};
use crate::{decide, simulate};

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// The story: a text timeline, see docs/simulate.md.
    file: PathBuf,
    /// Decides what happens by chance, in place of the story's own seed.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Plays a story: 0 when all went as expected, 1 when an expectation or a promise did not hold, 2 for a bad file.
pub(super) async fn simulate(args: Simulate) -> Exit {
    let shown = args.file.display();
    let text = match fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("{shown}: {error}"));
            return Exit::Usage;
        }
    };
    // A configuration file that the story names is looked for beside the story.
    let beside = args.file.parent().unwrap_or(Path::new("")).to_owned();
    let open = |name: &str| fs::read_to_string(beside.join(name)).map_err(|error| error.to_string());
    let mut story = match simulate::parse_with(&text, open) {
        Ok(story) => story,
        Err(problems) => {
            for problem in problems.0 {
                complain(&format!("{shown}: {problem}"));
            }
            return Exit::Usage;
        }
    };
    story.seed = args.seed.unwrap_or(story.seed);
    let report = match simulate::play(&story, decide::judges).await {
        Ok(report) => report,
        Err(error) => {
            complain(&chain(&error));
            return Exit::Failed;
        }
    };
    match args.output.output {
        OutputFormat::Table => say(&report.to_string()),
        OutputFormat::Json => match serde_json::to_string_pretty(&report) {
            Ok(text) => say_json(&text),
            Err(error) => {
                complain(&chain(&error));
                return Exit::Failed;
            }
        },
    }
    if report.is_good() { Exit::Done } else { Exit::Failed }
}
