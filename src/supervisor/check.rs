//! The rules that a specification as a whole must keep, whoever made it.

use std::collections::{BTreeMap, BTreeSet};

use super::specification::{
    AutoShutdown, Condition, DependsOn, Program, Readiness, RestartPolicy, Specification, Supervision,
};

/// One rule broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The program, pool or group; empty for the root.
    pub name: String,
    /// Which of its keys, as the file has them; empty for the whole.
    pub key: &'static str,
    /// Which item of that key's list, if it is about one.
    pub item: Option<String>,
    /// What is wrong.
    pub text: String,
}

/// The nearest of `names`, if one is near.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|other| (strsim::damerau_levenshtein(name, other), other));
    let length = name.chars().count();
    let most = (length / 3).max(1).min(length.saturating_sub(1));
    near.filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Everything that is wrong with `specification`, in no order.
pub fn check(specification: &Specification) -> Vec<Flaw> {
    let mut check = Check { specification, kinds: BTreeMap::new(), flaws: Vec::new() };
    check.names();
    check.programs();
    check.references();
    check.parents();
    check.significance();
    check.circles();
    check.log_files();
    check.flaws
}

/// What a name names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Pool,
    Group,
}

struct Check<'a> {
    specification: &'a Specification,
    kinds: BTreeMap<&'a str, Kind>,
    flaws: Vec<Flaw>,
}

impl<'a> Check<'a> {
    fn flaw(&mut self, name: &str, key: &'static str, item: Option<&str>, text: String) {
        self.flaws.push(Flaw { name: name.to_owned(), key, item: item.map(str::to_owned), text });
    }

    fn names(&mut self) {
        let specification = self.specification;
        let programs = specification.programs.iter().map(|program| (&program.name, Kind::Program));
        let pools = specification.pools.iter().map(|pool| (&pool.name, Kind::Pool));
        let groups = specification.groups.iter().map(|group| (&group.name, Kind::Group));
        for (name, kind) in programs.chain(pools).chain(groups) {
            if self.kinds.insert(name, kind).is_some() {
                self.flaw(name, "", None, format!("there are two of the name `{name}`"));
            }
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
            if name.is_empty()
                || !name.chars().all(good)
                || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            {
                let text = format!(
                    "`{name}` is no name; it begins with a letter or digit, and has `-`, `_` and `.`"
                );
                self.flaw(name, "", None, text);
            }
        }
    }

    fn programs(&mut self) {
        for program in &self.specification.programs {
            let name = &program.name;
            if program.process.is_some() {
                self.function(program);
            } else if program.command.first().is_none_or(String::is_empty) {
                self.flaw(name, "command", None, "the command is empty".to_owned());
            }
            if program.watchdog.is_some_and(|watchdog| watchdog.within.is_zero()) {
                self.flaw(name, "watchdog", None, "it must be longer than zero".to_owned());
            }
            if let Some(text) = wrong_readiness(&program.readiness) {
                self.flaw(name, "ready", None, text.to_owned());
            }
            if program.backoff.factor < 1.0 || !program.backoff.factor.is_finite() {
                self.flaw(name, "backoff", None, "`factor` must be at least 1".to_owned());
            }
            if !(0.0..=1.0).contains(&program.backoff.jitter) {
                self.flaw(name, "backoff", None, "`jitter` must be from 0 to 1".to_owned());
            }
            if program.backoff.cap < program.backoff.first {
                self.flaw(name, "backoff", None, "`cap` is shorter than `first`".to_owned());
            }
        }
    }

    /// What only a command can have.
    fn function(&mut self, program: &Program) {
        let plain = Program::new("", Vec::new());
        let keys = [
            ("command", program.command != plain.command),
            ("environment", program.environment != plain.environment),
            ("inherit_environment", !program.inherit_environment),
            ("folder", program.folder.is_some()),
            ("user", program.user.is_some()),
            ("success", program.success != plain.success),
            ("ready", program.readiness != plain.readiness),
            ("watchdog", program.watchdog.is_some()),
            ("limits", program.limits != plain.limits),
            ("log", program.log != plain.log),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
            self.flaw(&program.name, key, None, format!("a function has no `{key}`"));
        }
    }

    fn references(&mut self) {
        for (name, depends_on) in dependents(self.specification) {
            for DependsOn { name: other, condition } in depends_on {
                match self.kinds.get(other.as_str()) {
                    None => self.unknown(name, "depends_on", other),
                    Some(Kind::Program) => self.can_finish(name, other, *condition),
                    Some(Kind::Pool | Kind::Group) if *condition == Condition::Finished => {
                        let text = format!("`{other}` is no program, so it never finishes");
                        self.flaw(name, "depends_on", Some(other), text);
                    }
                    Some(_) => {}
                }
            }
        }
        for group in &self.specification.groups {
            for child in &group.children {
                if !self.kinds.contains_key(child.as_str()) {
                    self.unknown(&group.name, "children", child);
                }
            }
        }
    }

    fn can_finish(&mut self, name: &str, other: &str, condition: Condition) {
        let program = self.specification.programs.iter().find(|program| program.name == other);
        let permanent = program.is_some_and(|program| program.restart == RestartPolicy::Permanent);
        if condition == Condition::Finished && permanent {
            let text =
                format!("`{other}` is permanent, so it never finishes; give it `restart = \"transient\"`");
            self.flaw(name, "depends_on", Some(other), text);
        }
    }

    fn unknown(&mut self, name: &str, key: &'static str, other: &str) {
        let text = no_such(other, self.kinds.keys().copied());
        self.flaw(name, key, Some(other), text);
    }

    fn parents(&mut self) {
        let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
        for group in &self.specification.groups {
            for child in &group.children {
                if let Some(first) = parents.insert(child, &group.name) {
                    let text = format!("`{child}` is already in the group `{first}`");
                    self.flaw(&group.name, "children", Some(child), text);
                }
            }
        }
    }

    fn significance(&mut self) {
        let specification = self.specification;
        let programs = specification.programs.iter().map(|it| (&it.name, it.significant, it.restart));
        let pools = specification.pools.iter().map(|it| (&it.name, it.significant, it.restart));
        let groups = specification.groups.iter().map(|it| (&it.name, it.significant, it.restart));
        for (name, significant, restart) in programs.chain(pools).chain(groups) {
            if !significant {
                continue;
            }
            if restart == RestartPolicy::Permanent {
                let text = "what is permanent never ends for good, so it cannot be significant".to_owned();
                self.flaw(name, "significant", None, text);
            }
            if supervision_above(specification, name).auto_shutdown == AutoShutdown::Never {
                let text = "nothing follows from it: the group has no `auto_shutdown`".to_owned();
                self.flaw(name, "significant", None, text);
            }
        }
    }

    /// Who waits for whom: a child for what it and its groups depend on, a group for its children.
    fn circles(&mut self) {
        let waits = waits(self.specification);
        let mut done = BTreeSet::new();
        for start in waits.keys() {
            let mut path = Vec::new();
            if let Some(circle) = circle_from(start, &waits, &mut path, &mut done) {
                let text = format!("a circle, of which none can start: {}", circle.join(" → "));
                let (name, next) = (circle[0], circle[1]);
                let group = self.kinds.get(name) == Some(&Kind::Group);
                let key = if group && !depends_directly(self.specification, name, next) {
                    "children"
                } else {
                    "depends_on"
                };
                self.flaw(name, key, Some(next), text);
            }
        }
    }

    fn log_files(&mut self) {
        let mut files = BTreeMap::new();
        let programs = self.specification.programs.iter().map(|program| (&program.name, &program.log));
        let pools = self.specification.pools.iter().map(|pool| (&pool.name, &pool.log));
        for (name, log) in programs.chain(pools) {
            let Some(file) = &log.file else { continue };
            if let Some(first) = files.insert(file, name) {
                self.flaw(name, "log", None, format!("`{first}` writes to the same file"));
            }
        }
    }
}

fn wrong_readiness(readiness: &Readiness) -> Option<&'static str> {
    match readiness {
        Readiness::Fd(0..=2) => Some("descriptors 0, 1 and 2 are the standard streams"),
        Readiness::LogLine(text) if text.is_empty() || text.contains('\n') => {
            Some("the text must be a part of one line")
        }
        Readiness::Command { command, .. } if command.first().is_none_or(String::is_empty) => {
            Some("the command is empty")
        }
        _ => None,
    }
}

/// What is said of a name that nothing has.
pub(super) fn no_such<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, names) {
        Some(near) => format!("nothing is named `{name}`; did you mean `{near}`?"),
        None => format!("nothing is named `{name}`"),
    }
}

fn dependents(specification: &Specification) -> impl Iterator<Item = (&str, &Vec<DependsOn>)> {
    let programs = specification.programs.iter().map(|it| (it.name.as_str(), &it.depends_on));
    let pools = specification.pools.iter().map(|it| (it.name.as_str(), &it.depends_on));
    let groups = specification.groups.iter().map(|it| (it.name.as_str(), &it.depends_on));
    programs.chain(pools).chain(groups)
}

fn depends_directly(specification: &Specification, name: &str, other: &str) -> bool {
    let mut all = dependents(specification).filter(|(own, _)| *own == name);
    all.any(|(_, depends_on)| depends_on.iter().any(|dependency| dependency.name == other))
}

fn supervision_above<'a>(specification: &'a Specification, name: &str) -> &'a Supervision {
    let group = specification.groups.iter().find(|group| group.children.iter().any(|child| child == name));
    group.map_or(&specification.root, |group| &group.supervision)
}

fn waits(specification: &Specification) -> BTreeMap<&str, Vec<&str>> {
    let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, depends_on) in dependents(specification) {
        waits.entry(name).or_default().extend(depends_on.iter().map(|it| it.name.as_str()));
    }
    for group in &specification.groups {
        for child in &group.children {
            waits.entry(&group.name).or_default().push(child);
            let above = group.depends_on.iter().map(|it| it.name.as_str());
            waits.entry(child).or_default().extend(above);
        }
    }
    waits
}

/// Goes deeper until a name comes twice. What was looked at without finding a circle is `done`.
fn circle_from<'a>(
    name: &'a str,
    waits: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = path.iter().position(|other| *other == name) {
        let mut circle = path[start..].to_vec();
        circle.push(name);
        done.extend(path.iter());
        return Some(circle);
    }
    if !done.contains(name) {
        path.push(name);
        for next in waits.get(name).into_iter().flatten() {
            if let Some(circle) = circle_from(next, waits, path, done) {
                return Some(circle);
            }
        }
        path.pop();
        done.insert(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::specification::{Group, Program};
    use super::*;

    fn program(name: &str, depends_on: &[&str]) -> Program {
        let mut program = Program::new(name, vec!["true".to_owned()]);
        let condition = Condition::Ready;
        program.depends_on =
            depends_on.iter().map(|name| DependsOn { name: (*name).to_owned(), condition }).collect();
        program
    }

    fn texts(specification: &Specification) -> Vec<String> {
        check(specification).into_iter().map(|flaw| flaw.text).collect()
    }

    #[test]
    fn a_circle_of_dependencies_is_named() {
        let programs =
            vec![program("a", &["b"]), program("b", &["c"]), program("c", &["b"]), program("d", &[])];
        let found = texts(&Specification { programs, ..Specification::default() });
        assert_eq!(found, ["a circle, of which none can start: b → c → b"]);
        let programs = vec![program("a", &["a"])];
        let found = texts(&Specification { programs, ..Specification::default() });
        assert_eq!(found, ["a circle, of which none can start: a → a"]);
    }

    #[test]
    fn a_circle_through_a_group_is_found() {
        let group = Group {
            name: "g".to_owned(),
            children: vec!["a".to_owned()],
            supervision: Supervision::default(),
            restart: RestartPolicy::Permanent,
            significant: false,
            depends_on: Vec::new(),
        };
        let programs = vec![program("a", &["b"]), program("b", &["g"])];
        let found = texts(&Specification { programs, groups: vec![group], ..Specification::default() });
        assert_eq!(found, ["a circle, of which none can start: a → b → g → a"]);
    }

    #[test]
    fn two_of_one_name_and_a_name_that_is_none_are_flaws() {
        let programs = vec![program("a", &[]), program("a", &[]), program("-x", &[]), program("", &[])];
        assert_eq!(texts(&Specification { programs, ..Specification::default() }).len(), 3);
    }

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("databse", ["database", "web"]), Some("database"));
        assert_eq!(nearest("xyz", ["database", "web"]), None);
    }
}
