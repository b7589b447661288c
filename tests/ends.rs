//! Ends of ipc-channels among the arguments of a process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ipc_channel::IpcError;
use ipc_channel::ipc::{self, IpcBytesSender, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};
use watertight::{Encoding, Pool, Process, Signal, StartMethod, TaskErrorKind};

fn count_to(progress: IpcSender<u64>, most: u64) -> u64 {
    (1..=most).for_each(|number| progress.send(number).unwrap());
    most
}

fn add_all(numbers: IpcReceiver<u64>) -> u64 {
    std::iter::from_fn(|| numbers.recv().ok()).sum()
}

fn send_and_hang(sender: IpcSender<u64>) {
    sender.send(1).unwrap();
    loop {
        std::thread::park();
    }
}

fn is_disconnected<T>(receiver: &IpcReceiver<T>) -> bool
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    matches!(receiver.recv(), Err(IpcError::Disconnected))
}

#[watertight::test]
fn a_child_sends_a_thousand_values_to_its_parent() {
    let (sender, receiver) = ipc::channel().unwrap();
    let process = Process::spawn(count_to, (sender, 1000)).unwrap();
    for number in 1..=1000 {
        assert_eq!(receiver.recv().unwrap(), number);
    }
    // The last sender was the child's.
    assert!(is_disconnected(&receiver));
    assert_eq!(process.join().unwrap(), 1000);
}

#[watertight::test]
fn a_process_that_is_executed_anew_gets_its_ends_too() {
    let (sender, receiver) = ipc::channel().unwrap();
    let builder = Process::builder().start_method(StartMethod::Exec);
    let process = builder.spawn(count_to, (sender, 3)).unwrap();
    assert_eq!(std::iter::from_fn(|| receiver.recv().ok()).collect::<Vec<u64>>(), [1, 2, 3]);
    assert_eq!(process.join().unwrap(), 3);
}

#[watertight::test]
fn a_parent_that_reads_sees_the_death_of_its_child() {
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let process = Process::spawn(send_and_hang, (sender,)).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    process.kill().unwrap();
    assert!(is_disconnected(&receiver));
    assert_eq!(process.join().unwrap_err().signal(), Some(Signal::SIGKILL));
}

#[watertight::test]
fn a_receiver_is_an_argument_too() {
    let (sender, receiver) = ipc::channel().unwrap();
    let process = Process::spawn(add_all, (receiver,)).unwrap();
    (1..=100).for_each(|number| sender.send(number).unwrap());
    drop(sender);
    assert_eq!(process.join().unwrap(), 5050);
}

#[watertight::test]
fn a_child_that_dies_with_a_receiver_is_seen_by_the_sender() {
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let process = Process::spawn(|_: IpcReceiver<u64>| std::process::abort(), (receiver,)).unwrap();
    assert_eq!(process.join().map(|(): ()| ()).unwrap_err().signal(), Some(Signal::SIGABRT));
    assert!(sender.send(1).is_err());
}

#[derive(Serialize, Deserialize)]
struct Work {
    name: String,
    answers: Vec<IpcSender<String>>,
    bytes: Option<IpcBytesSender>,
    none: Option<IpcReceiver<u8>>,
}

fn answer(work: Work, again: (u8, IpcSender<String>)) {
    for (place, sender) in work.answers.iter().enumerate() {
        sender.send(format!("{} {place}", work.name)).unwrap();
    }
    again.1.send(format!("again {}", again.0)).unwrap();
    work.bytes.unwrap().send(&[7; 10]).unwrap();
    assert!(work.none.is_none());
}

#[watertight::test]
fn ends_travel_in_structures_lists_and_options() {
    let (first, from_first) = ipc::channel().unwrap();
    let (second, from_second) = ipc::channel().unwrap();
    let (bytes, from_bytes) = ipc::bytes_channel().unwrap();
    let answers = vec![first.clone(), second, first.clone()];
    let work = Work { name: "answer".to_owned(), answers, bytes: Some(bytes), none: None };
    Process::spawn(answer, (work, (9, first))).unwrap().join().unwrap();
    let texts = |receiver: IpcReceiver<String>| std::iter::from_fn(move || receiver.recv().ok());
    assert_eq!(texts(from_first).collect::<Vec<_>>(), ["answer 0", "answer 2", "again 9"]);
    assert_eq!(texts(from_second).collect::<Vec<_>>(), ["answer 1"]);
    assert_eq!(from_bytes.recv().unwrap(), [7; 10]);
}

#[watertight::test]
fn an_end_goes_on_to_a_grandchild() {
    let (sender, receiver) = ipc::channel().unwrap();
    let pass_on = |sender: IpcSender<u64>| Process::spawn(count_to, (sender, 5)).unwrap().join().unwrap();
    assert_eq!(Process::spawn(pass_on, (sender,)).unwrap().join().unwrap(), 5);
    assert_eq!(std::iter::from_fn(|| receiver.recv().ok()).sum::<u64>(), 15);
}

#[watertight::test]
fn large_arguments_and_buffers_travel_beside_ends() {
    let (sender, receiver) = ipc::channel().unwrap();
    let lengths = |text: String, bytes: watertight::Bytes, sender: IpcSender<usize>| {
        sender.send(text.len() + bytes.len()).unwrap();
    };
    let bytes = watertight::Bytes::from(vec![0; 300_000]);
    Process::spawn(lengths, ("x".repeat(500_000), bytes, sender)).unwrap().join().unwrap();
    assert_eq!(receiver.recv().unwrap(), 800_000);
}

#[watertight::test]
fn a_process_that_cannot_start_closes_its_ends() {
    let (sender, receiver) = ipc::channel().unwrap();
    let builder = Process::builder().current_dir("/there/is/no/such/folder");
    assert!(builder.spawn(count_to, (sender, 3)).is_err());
    assert!(is_disconnected(&receiver));
}

#[watertight::test]
fn a_child_that_never_looks_at_its_ends_closes_them() {
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let process = Process::builder().memory_limit(1).spawn(count_to, (sender, 3)).unwrap();
    assert!(process.join().is_err());
    assert!(is_disconnected(&receiver));
}

fn take_many(senders: Vec<IpcSender<u64>>) {
    senders.iter().for_each(|sender| sender.send(1).unwrap());
}

#[watertight::test]
fn there_are_at_most_63_ends() {
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    Process::spawn(take_many, (vec![sender.clone(); 63],)).unwrap().join().unwrap();
    assert_eq!((0..63).map(|_| receiver.recv().unwrap()).sum::<u64>(), 63);
    let error = Process::spawn(take_many, (vec![sender.clone(); 64],)).unwrap_err();
    assert!(error.to_string().contains("64 ends of ipc-channels, and 63 is the most"), "{error}");
    drop(sender);
    assert!(is_disconnected(&receiver));
}

#[watertight::test]
fn an_end_that_a_failed_message_left_behind_does_not_travel() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("as it should"))
        }
    }
    impl<'de> Deserialize<'de> for Fails {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Fails, D::Error> {
            Err(serde::de::Error::custom("as it should"))
        }
    }
    let (lost, from_lost) = ipc::channel::<u64>().unwrap();
    let (failing, _kept) = ipc::channel::<(IpcSender<u64>, Fails)>().unwrap();
    assert!(failing.send((lost, Fails)).is_err());
    let (sender, receiver) = ipc::channel().unwrap();
    assert_eq!(Process::spawn(count_to, (sender, 2)).unwrap().join().unwrap(), 2);
    assert_eq!(std::iter::from_fn(|| receiver.recv().ok()).sum::<u64>(), 3);
    assert!(is_disconnected(&from_lost));
}

#[derive(Serialize, Deserialize)]
struct Hidden(IpcSender<u64>);

#[watertight::test]
fn an_end_cannot_be_the_value_of_a_process() {
    let bare = Process::spawn(|| ipc::channel::<u64>().unwrap().0, ()).unwrap();
    let hidden = Process::spawn(|| vec![Hidden(ipc::channel::<u64>().unwrap().0)], ()).unwrap();
    for error in [bare.join().map(drop).unwrap_err(), hidden.join().map(drop).unwrap_err()] {
        let what = Encoding::EncodeResult;
        assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: found, .. } if *found == what));
        assert!(error.to_string().contains("an end of an ipc-channel"), "{error}");
    }
}

#[watertight::test]
fn a_pool_refuses_ends_before_anything_runs() {
    let pool = Pool::new(1).unwrap();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let refused = |error: &watertight::TaskError, what: Encoding| {
        let found = matches!(error.kind(), TaskErrorKind::Encoding { what: found, .. } if *found == what);
        assert!(found && error.to_string().contains("an end of an ipc-channel"), "{error}");
    };
    refused(&pool.apply(count_to, (sender.clone(), 3)).unwrap_err(), Encoding::EncodeArguments);
    refused(&pool.call::<u64, _>("count_to", (sender.clone(), 3)).unwrap_err(), Encoding::EncodeArguments);
    refused(&pool.outcomes(add_all, [receiver])[0].clone().unwrap_err(), Encoding::EncodeArguments);
    let made = pool.apply(|| vec![ipc::channel::<u64>().unwrap().0], ());
    refused(&made.map(drop).unwrap_err(), Encoding::EncodeResult);
    let error = pool.apply_async(count_to, (sender.clone(), 3)).unwrap_err();
    assert!(error.to_string().contains("an end of an ipc-channel"), "{error}");
    assert_eq!(pool.apply(|x: u64| x + 1, (1,)).unwrap(), 2);
    let builder = Pool::builder().workers(1).initializer(count_to, (sender, 3));
    let error = builder.start().unwrap_err();
    assert!(error.to_string().contains("an end of an ipc-channel"), "{error}");
}

#[watertight::test]
fn an_end_that_is_hidden_in_a_structure_fails_its_task_in_a_pool() {
    let pool = Pool::new(1).unwrap();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let outcome = pool.apply(|hidden: Hidden| hidden.0.send(1).is_ok(), (Hidden(sender),));
    assert!(outcome.unwrap_err().is_panic());
    assert_eq!(pool.apply(|x: u64| x + 1, (1,)).unwrap(), 2);
    // Until then the end lay with this thread, where ipc-channel puts what is to be sent.
    Process::spawn(|text: String| text.len(), ("some".to_owned(),)).unwrap().join().unwrap();
    assert!(is_disconnected(&receiver));
}
