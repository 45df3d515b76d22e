//! The first paragraph of a report: what came out, in a few sentences. It says only what the tables
//! say, too.

use super::{
    figure::Figure,
    labels::{decimals, grouped_digits, receivers_label},
    summary::{Group, Summary},
};
use crate::record::File;

/// The limit of modes that are named between the fastest and the slowest one.
const MAX_FOLLOWERS: usize = 3;

/// The paragraph; empty without complete runs.
pub(crate) fn lead(summary: &Summary<'_>) -> String {
    let mut sentences = Vec::new();
    match summary.groups.iter().filter(|group| group.simulated).count() {
        0 => {}
        all if all == summary.groups.len() => {
            sentences.push("Simulated, not measured.".to_owned());
        }
        _ => sentences.push("Some modes were simulated, not measured.".to_owned()),
    }
    for (index, file) in summary.files.iter().enumerate() {
        let Some(crowd) = LargestCrowd::of(summary, file) else { continue };
        let detail = if index == 0 { Detail::Full } else { Detail::Brief };
        sentences.push(crowd.result(detail));
        if detail == Detail::Full {
            sentences.extend(crowd.growth(summary));
        }
    }
    let repetitions = summary.groups.iter().map(|group| group.complete).max().unwrap_or_default();
    if repetitions > 0 {
        sentences.push(match repetitions {
            0 | 1 => "Each time is that of one run.".to_owned(),
            count => format!("Times are medians of up to {count} runs."),
        });
    }
    sentences.extend(gaps(summary));
    sentences.join(" ")
}

/// The index of the figure that belongs beside the paragraph: the completion of the first file,
/// with its largest number of receivers.
pub(crate) fn main_figure(figures: &[Figure]) -> Option<usize> {
    let of_completion =
        figures.iter().take_while(|figure| figure.name.starts_with("completion-")).count();
    (!figures.is_empty()).then(|| of_completion.saturating_sub(1))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Full,
    Brief,
}

/// The complete groups of one file with the largest number of receivers, the fastest first; at
/// least one.
struct LargestCrowd<'s, 'a> {
    file: &'s File,
    users: u32,
    ranked: Vec<(f64, &'s Group<'a>)>,
}

impl<'s, 'a> LargestCrowd<'s, 'a> {
    fn of(summary: &'s Summary<'a>, file: &'s File) -> Option<Self> {
        let seconds = |group: &'s Group<'a>| Some((group.last?.median, group));
        let mut ranked: Vec<_> = summary.of_file(file).filter_map(seconds).collect();
        let users = ranked.iter().map(|(_, group)| group.users).max()?;
        ranked.retain(|(_, group)| group.users == users);
        ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
        Some(Self { file, users, ranked })
    }

    fn result(&self, detail: Detail) -> String {
        let Some(&(seconds, fastest)) = self.ranked.first() else { return String::new() };
        let file = &self.file.name;
        let crowd = receivers_label(self.users);
        let time = match fastest.bounds.zip(fastest.distance) {
            Some((bounds, distance)) => format!(
                "{seconds:.2} s, {:.3} times the lower bound of {:.2} s",
                distance.median,
                bounds.of(fastest.model)
            ),
            None => format!("{seconds:.2} s"),
        };
        let only = self.ranked.len() == 1;
        let mut text = match detail {
            Detail::Full if only => format!(
                "With {}, {file} ({} bytes) was at {} in {time}.",
                fastest.name,
                grouped_digits(self.file.bytes),
                if self.users == 1 { "the receiver".to_owned() } else { format!("all {crowd}") },
            ),
            Detail::Full => format!(
                "Of {} modes, {} brought {file} ({} bytes) to {crowd} in the least time: the last \
                 one had its verified copy after {time}.",
                self.ranked.len(),
                fastest.name,
                grouped_digits(self.file.bytes),
            ),
            Detail::Brief if only => format!("{file} took {} {time}.", fastest.name),
            Detail::Brief => {
                format!("{file} was fastest with {}: {time}, {crowd}.", fastest.name)
            }
        };
        if detail == Detail::Full
            && let Some(files) = fastest.origin_files
        {
            text += &format!(" The origin sent {} copies.", decimals(files.median));
        }
        if detail == Detail::Full {
            text += &self.others(seconds);
        }
        text
    }

    /// The modes after the fastest one.
    fn others(&self, fastest: f64) -> String {
        let named = |&(seconds, group): &(f64, &Group<'_>)| {
            let times = decimals(seconds / fastest.max(f64::MIN_POSITIVE));
            format!("{} ({seconds:.2} s, {times} times as long)", group.name)
        };
        match &self.ranked[1..] {
            [] => String::new(),
            [other] => format!(" {} followed.", named(other)),
            [others @ .., slowest] => {
                let shown: Vec<_> = others.iter().take(MAX_FOLLOWERS).map(named).collect();
                let left = others.len() - shown.len();
                let more = if left > 0 { format!(" and {left} more") } else { String::new() };
                let shown = shown.join(", ");
                format!(" {shown}{more} followed; the slowest was {}.", named(slowest))
            }
        }
    }

    /// How the times of the fastest and the slowest mode grew with the crowd.
    fn growth(&self, summary: &Summary<'_>) -> Option<String> {
        let fewest = summary.users(self.file).into_iter().find(|&users| users < self.users)?;
        let grown = |&(seconds, group): &(f64, &Group<'_>)| {
            let small = summary
                .of_file(self.file)
                .find(|other| other.mode == group.mode && other.users == fewest)?;
            Some(format!("{} went from {:.2} to {seconds:.2} s", group.name, small.last?.median))
        };
        let ends = [self.ranked.first()?, self.ranked.last()?];
        let ends = &ends[..if self.ranked.len() > 1 { 2 } else { 1 }];
        let grown: Vec<String> = ends.iter().filter_map(|end| grown(end)).collect();
        let crowd = receivers_label(self.users);
        (!grown.is_empty()).then(|| format!("From {fewest} to {crowd}, {}.", grown.join(", and ")))
    }
}

/// What is missing, if anything is.
fn gaps(summary: &Summary<'_>) -> Option<String> {
    let failed = summary.records.standing_failures().count();
    let incomplete = summary.records.runs.iter().filter(|run| run.lacks_copies()).count();
    let missing = summary.records.still_missing().count();
    let parts = [
        (failed, "could not be made"),
        (incomplete, "ended with a receiver without a correct copy"),
    ];
    let mut parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {} {what}", if count == 1 { "run" } else { "runs" }))
        .collect();
    if missing > 0 {
        let noun = if missing == 1 { "mode was" } else { "modes were" };
        parts.push(format!("{missing} {noun} left out because a program is not installed"));
    }
    (!parts.is_empty()).then(|| format!("{}: see \"Not measured\".", parts.join(", and ")))
}
