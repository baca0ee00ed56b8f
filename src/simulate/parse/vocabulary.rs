//! All that a story can say, from the tables by which it is read.

use super::{
    header::{FLEET, LINES},
    people::DEEDS,
    timeline::{
        ALERTMANAGER, GITLAB, HAPPENINGS, LEAD, PARTITION, PROMETHEUS, SERVER, SHAPES, SIDES, WRITES, parts,
    },
};
use crate::{model::Gate, world::sim::Tool};

/// Every word that chooses what there is or what happens: how its line begins, without the time after `at`, and the word,
/// which stands somewhere behind that. Whoever makes stories can prove by it that they leave nothing out. The keys that
/// `set` takes are those of the configuration.
pub fn vocabulary() -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    let mut begin = |begins: &str, words: &[&'static str]| {
        all.extend(words.iter().map(|word| (begins.to_owned(), *word)));
    };
    begin("", &LINES);
    begin("fleet", &FLEET);
    begin("fleet", &["nobody"]);
    begin("tools", &["none"]);
    begin("tools", &Tool::INSTALLED.map(Tool::as_str));
    begin("poll", &["never"]);
    let mut say = |begins: &str, words: &[&'static str]| begin(format!("at {begins}").trim_end(), words);
    say("", &HAPPENINGS);
    say("human", &DEEDS);
    say("fault gitlab", &GITLAB);
    say("fault gitlab", &WRITES);
    say("fault gitlab", &SHAPES);
    say("fault dns", &SERVER);
    say("fault dns", &WRITES);
    say("fault prometheus", &PROMETHEUS);
    say("fault alertmanager", &ALERTMANAGER);
    for tool in Tool::ALL {
        say(
            &format!("fault {}", tool.as_str()),
            &tool.faults().iter().map(|f| f.as_str()).collect::<Vec<_>>(),
        );
    }
    for part in ["gitlab", "dns", "prometheus", "alertmanager"] {
        say(&format!("fault {part}"), &["for"]);
    }
    say("mend", &parts().iter().map(|(name, _)| *name).collect::<Vec<_>>());
    say("lead", &LEAD);
    say("partition", &PARTITION);
    say("crash", &SIDES);
    say("crash", &["step", "record"]);
    let overridable = Gate::ALL.into_iter().filter(|gate| gate.overridable());
    say("human switches", &overridable.map(Gate::as_str).collect::<Vec<_>>());
    say("human switches", &["nobody"]);
    say("human fails back", &["force", "nobody"]);
    say("human registers", &["tagged"]);
    say("human pauses", &["bulk"]);
    say("human unpauses", &["bulk"]);
    say("human gives", &["step"]);
    say("human takes", &["step"]);
    for deed in ["pauses", "resumes", "acks", "approves", "rejects"] {
        say(&format!("human {deed}"), &["believing", "nobody"]);
    }
    for deed in ["pauses", "vetoes"] {
        say(&format!("human {deed}"), &["for"]);
    }
    for deed in ["pauses", "resumes"] {
        say(&format!("human {deed}"), &["all"]);
    }
    say("human", &["by", "because"]);
    all
}
