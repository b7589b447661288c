//! Objects are made, sent, opened, dropped and died with at random, beside a map of what should be there.
//!
//! Every object has a content of its own, so one that lies in another one's place is seen.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use support::{Random, is_long};
use watertight::sync::Event;
use watertight::{Array, Process, Value};

#[derive(Clone, Serialize, Deserialize)]
enum Object {
    Small(Value<u64>),
    Middle(Value<[u64; 31]>),
    Large(Array<u64>),
}

impl Object {
    fn make(number: u64) -> Object {
        match number % 5 {
            0 | 1 => Object::Small(Value::new(number).unwrap()),
            2 | 3 => Object::Middle(Value::new([number; 31]).unwrap()),
            _ => Object::Large(Array::from_slice(&[number; 9000]).unwrap()),
        }
    }

    fn holds(&self, number: u64) -> bool {
        match self {
            Object::Small(value) => value.get().unwrap() == number,
            Object::Middle(value) => value.get().unwrap() == [number; 31],
            Object::Large(array) => array.to_vec().unwrap() == [number; 9000],
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap()
    }

    /// Whether a handle that keeps nothing alive leads nowhere, or still to what it was a handle on: a dead
    /// process's share counts until somebody looks for room, and what a dead one has made is not made anew.
    fn is_gone_or_same(text: &str, number: u64) -> bool {
        serde_json::from_str::<Object>(text).map_or(true, |object| object.holds(number))
    }
}

type Objects = BTreeMap<u64, Object>;

/// Looks at what it was sent, makes some of its own, and gives back a part of both.
fn visitor(sent: Objects, first: u64, end: Option<Event>) -> Objects {
    assert!(sent.iter().all(|(number, object)| object.holds(*number)), "what was sent is another thing");
    let made = (first..first + 4).map(|number| (number, Object::make(number)));
    let all: Objects = sent.into_iter().chain(made).collect();
    if let Some(end) = end {
        end.set();
        std::thread::park_timeout(std::time::Duration::from_secs(60));
    }
    all.into_iter().filter(|(number, _)| number % 3 != 0).collect()
}

/// What the host knows: the objects that it has, and handles on some that it has not.
#[derive(Default)]
struct Play {
    objects: Objects,
    gone: Vec<(u64, String)>,
    next: u64,
}

impl Play {
    fn step(&mut self, random: &mut Random) {
        match random.below(10) {
            0..4 => {
                self.objects.insert(self.next, Object::make(self.next));
                self.next += 1;
            }
            4..8 => self.drop_one(random),
            8 => self.visit(random),
            _ => self.visit_of_the_dead(random),
        }
        assert!(self.objects.iter().all(|(number, object)| object.holds(*number)));
        let stale = self.gone.iter().all(|(number, text)| Object::is_gone_or_same(text, *number));
        assert!(stale, "a stale handle leads to another object");
    }

    /// This process has the only handle, so the object goes with it.
    fn drop_one(&mut self, random: &mut Random) {
        let numbers: Vec<u64> = self.objects.keys().copied().collect();
        if numbers.is_empty() {
            return;
        }
        let number = numbers[random.below(numbers.len() as u64) as usize];
        let object = self.objects.remove(&number).unwrap();
        self.gone.push((number, object.text()));
        let surplus = self.gone.len().saturating_sub(50);
        self.gone.drain(..surplus);
    }

    fn some(&self, random: &mut Random) -> Objects {
        let some = self.objects.iter().filter(|_| random.below(3) == 0);
        some.map(|(number, object)| (*number, object.clone())).collect()
    }

    fn visit(&mut self, random: &mut Random) {
        let arguments = (self.some(random), self.next, None);
        self.next += 4;
        let back = Process::spawn(visitor, arguments).unwrap().join().unwrap();
        self.objects.extend(back);
    }

    /// What it made goes with it, and what it was sent stays.
    fn visit_of_the_dead(&mut self, random: &mut Random) {
        let end = Event::new().unwrap();
        let arguments = (self.some(random), self.next, Some(end.clone()));
        self.next += 4;
        let process = Process::builder().daemon(true).spawn(visitor, arguments).unwrap();
        end.wait().unwrap();
        process.kill().unwrap();
        assert!(process.join().is_err());
    }
}

fn segments() -> usize {
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let own = format!("watertight-{}-", std::process::id());
    names.filter(|name| name.file_name().to_string_lossy().starts_with(&own)).count()
}

#[watertight::test(timeout = "1200s")]
fn every_object_keeps_its_place_as_long_as_anybody_has_it() {
    let mut random = Random::new();
    let mut play = Play::default();
    for _ in 0..if is_long() { 20_000 } else { 150 } {
        play.step(&mut random);
    }
    play.objects.clear();
    // Nobody else has any: all memory goes with the last handle, but for the roster.
    assert!(segments() <= 1, "{} segments are left", segments());
}
