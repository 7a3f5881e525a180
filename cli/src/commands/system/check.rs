//! `isola system check`

use isola_images::{Checked, Finding, Mended};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{clean, print, print_line};
use crate::progress::Progress;

/// Look for damage among images, without a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Make layers anew, and remove damaged blobs so that the next pull or load brings them
    #[arg(long)]
    repair: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// json prints an object with all findings
    #[arg(long, value_parser = ["json"])]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola system check
  isola system check --repair
  isola system check --format json";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let progress = Progress::new(args.quiet);
    let told = |done, total| progress.step("reading blobs", done, Some(total));
    let checked = context.store()?.check(args.repair, &told)?;
    drop(progress);
    match args.format {
        Some(_) => print_line(&as_json(&checked).to_string())?,
        None => print(&as_text(&checked, args.repair))?,
    }
    let left = checked
        .findings
        .iter()
        .filter(|finding| !finding.is_mended());
    match left.count() {
        0 => Ok(Exit::OK),
        count => Err(failure(count, args.repair)),
    }
}

fn failure(count: usize, repair: bool) -> Failure {
    let things = if count == 1 { "thing" } else { "things" };
    let message = format!("the image store has {count} damaged or missing {things}");
    let hint = match repair {
        true => "pull or load the images that are named, or remove them with `isola rmi -f`",
        false => "--repair mends what can be mended here; what is missing comes by a pull or load",
    };
    Failure::new(Code::BadImage, message).hint(hint)
}

fn as_text(checked: &Checked, repair: bool) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        text.push_str(&clean(&line(finding)));
        text.push('\n');
    }
    text.push_str(&format!(
        "{} blobs were hashed, {} layers compared with theirs: {}\n",
        checked.blobs,
        checked.layers,
        match checked.findings.len() {
            0 => "no damage".to_owned(),
            count => format!("{count} found"),
        }
    ));
    if checked.unfinished > 0 {
        let done = if repair {
            "were removed"
        } else {
            "go with the next pull"
        };
        text.push_str(&format!(
            "{} unfinished files of processes that ended {done}\n",
            checked.unfinished
        ));
    }
    text
}

fn line(finding: &Finding) -> String {
    let images = match finding.images.as_slice() {
        [] => "no image needs it".to_owned(),
        images => format!("needed by {}", images.join(", ")),
    };
    let done = match finding.mended {
        Mended::No => "",
        Mended::Removed => "; removed",
        Mended::Anew => "; made anew",
    };
    format!(
        "{}: {} ({images}){done}",
        finding.file.display(),
        finding.wrong
    )
}

fn as_json(checked: &Checked) -> Value {
    let findings = checked.findings.iter().map(|finding| {
        json!({
            "File": finding.file,
            "Wrong": finding.wrong,
            "Images": finding.images,
            "Mended": match finding.mended {
                Mended::No => "no",
                Mended::Removed => "removed",
                Mended::Anew => "made anew",
            },
            "Whole": finding.is_mended(),
        })
    });
    json!({
        "Blobs": checked.blobs,
        "Layers": checked.layers,
        "Unfinished": checked.unfinished,
        "Findings": findings.collect::<Vec<_>>(),
    })
}
