//! The rounds: everybody does everything once a round, one after the other.

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::contender::{Contender, Peer, Placement};
use crate::work::Row;

/// What came of one row under one placement.
pub(crate) struct Samples {
    pub(crate) row: &'static Row,
    pub(crate) placement: Placement,
    peers: Vec<(Peer, Vec<Answer>)>,
}

impl Samples {
    fn new(row: &'static Row, placement: Placement) -> Samples {
        Samples { row, placement, peers: Peer::ALL.map(|peer| (peer, Vec::new())).into() }
    }

    /// Keeps `peer`'s answers apart from the others'.
    fn answers(&mut self, peer: Peer) -> &mut Vec<Answer> {
        let place = self.peers.iter().position(|(other, _)| *other == peer).unwrap_or_default();
        &mut self.peers[place].1
    }

    /// The median of a peer's answers, or why there is none.
    pub(crate) fn median(&self, peer: Peer) -> Answer {
        match self.sorted(peer) {
            Ok(values) => Answer::Value(quantile(&values, 0.5)),
            Err(other) => other,
        }
    }

    /// How far the middle half of a peer's answers lies apart, as a share of their median.
    pub(crate) fn spread(&self, peer: Peer) -> Option<f64> {
        let values = self.sorted(peer).ok()?;
        let median = quantile(&values, 0.5);
        (median > 0.0).then(|| (quantile(&values, 0.75) - quantile(&values, 0.25)) / median)
    }

    fn sorted(&self, peer: Peer) -> Result<Vec<f64>, Answer> {
        let answers = self.peers.iter().filter(|(other, _)| *other == peer).flat_map(|(_, answers)| answers);
        let mut values = Vec::new();
        for answer in answers {
            match answer {
                Answer::Value(value) => values.push(*value),
                other => return Err(*other),
            }
        }
        if values.is_empty() {
            return Err(Answer::Absent);
        }
        values.sort_by(f64::total_cmp);
        Ok(values)
    }
}

/// Between the two neighbours, as a weighted mean.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Runs all rounds.
pub(crate) fn run(arguments: &Arguments) -> Vec<Samples> {
    let places = arguments.placements.iter().flat_map(|place| Peer::ALL.map(|peer| (peer, *place)));
    let mut contenders: Vec<Contender> =
        places.map(|(peer, placement)| Contender::start(peer, placement)).collect();
    let mut all: Vec<Samples> = arguments
        .rows
        .iter()
        .flat_map(|row| arguments.placements.iter().map(|placement| Samples::new(row, *placement)))
        .collect();
    for _ in 0..arguments.rounds {
        for samples in &mut all {
            let placement = samples.placement;
            for contender in contenders.iter_mut().filter(|contender| contender.placement == placement) {
                ask(contender, samples);
            }
        }
    }
    all
}

fn ask(contender: &mut Contender, samples: &mut Samples) {
    let row = samples.row;
    let answers = samples.answers(contender.peer);
    // Who has nothing to show once is not asked again: a "never" takes its time.
    if answers.iter().all(|answer| matches!(answer, Answer::Value(_))) {
        answers.push(contender.ask(row));
    }
}
