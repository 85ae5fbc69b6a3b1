//! Vertices that add numbers: the result of a vertex is its own number plus those of its inputs.

use std::collections::BTreeMap;

use oci::Digest;

use crate::{Action, Event, Solver, Status, Vertex};

#[derive(Clone)]
struct Sum {
    number: u64,
    inputs: Vec<usize>,
    ignore_cache: bool,
    /// What it reads has no fast key (as a directory that may have changed).
    slow: bool,
}

fn sum(number: u64, inputs: &[usize]) -> Sum {
    Sum { number, inputs: inputs.to_vec(), ignore_cache: false, slow: false }
}

#[derive(Default)]
struct Driver {
    records: BTreeMap<Digest, u64>,
    ran: Vec<usize>,
}

impl Driver {
    /// Solves for the last vertex, taking the newest of several possible actions first when `reverse` is set.
    fn solve(&mut self, graph: &[Sum], reverse: bool) -> (u64, Vec<Status>) {
        let vertex = |it: &Sum| Vertex {
            inputs: it.inputs.clone(),
            base: None,
            ignore_cache: it.ignore_cache,
            trivial: false,
        };
        let mut solver = Solver::new(graph.iter().map(vertex).collect());
        let mut results: BTreeMap<usize, u64> = BTreeMap::new();
        let mut found: BTreeMap<usize, u64> = BTreeMap::new();
        self.ran.clear();
        solver.want(graph.len() - 1);
        let mut pending: Vec<Action> = Vec::new();
        loop {
            while let Some(action) = solver.next_action() {
                pending.push(action);
            }
            if pending.is_empty() {
                break;
            }
            let action =
                if reverse { pending.pop().expect("not empty") } else { pending.remove(0) };
            let event = match action {
                Action::FastKey { vertex, inputs } => {
                    let text = format!("fast {} {inputs:?}", graph[vertex].number);
                    Event::FastKey {
                        vertex,
                        key: (!graph[vertex].slow).then(|| Digest::of(text.as_bytes())),
                    }
                }
                Action::LookUp { vertex, key } => {
                    let record = self.records.get(&key);
                    found.extend(record.map(|record| (vertex, *record)));
                    Event::LookUp { vertex, hit: record.is_some() }
                }
                Action::ContentKey { vertex } => {
                    let inputs: Vec<u64> =
                        graph[vertex].inputs.iter().map(|input| results[input]).collect();
                    let text = format!("content {} {inputs:?}", graph[vertex].number);
                    Event::ContentKey { vertex, key: Some(Digest::of(text.as_bytes())) }
                }
                Action::Load { vertex } => {
                    results.insert(vertex, found[&vertex]);
                    Event::Load { vertex, loaded: true }
                }
                Action::Run { vertex, keys } => {
                    let inputs = graph[vertex].inputs.iter().map(|input| results[input]);
                    let result = graph[vertex].number + inputs.sum::<u64>();
                    results.insert(vertex, result);
                    self.records.extend(keys.into_iter().map(|key| (key, result)));
                    self.ran.push(vertex);
                    Event::Run { vertex }
                }
                Action::Remember { vertex, key } => {
                    self.records.insert(key, results[&vertex]);
                    continue;
                }
            };
            solver.handle(event);
        }
        assert!(solver.is_done(), "stuck");
        self.ran.sort_unstable();
        (
            results[&(graph.len() - 1)],
            (0..graph.len()).map(|vertex| solver.status(vertex)).collect(),
        )
    }
}

#[test]
fn everything_runs_once_and_then_only_the_last_is_looked_up() {
    let graph = [sum(1, &[]), sum(2, &[0]), sum(3, &[0]), sum(4, &[1, 2])];
    let mut driver = Driver::default();
    assert_eq!(driver.solve(&graph, false).0, 1 + 2 + 1 + 3 + 4);
    assert_eq!(driver.ran, [0, 1, 2, 3]);
    let (result, status) = driver.solve(&graph, false);
    assert_eq!(result, 11);
    assert!(driver.ran.is_empty());
    assert_eq!(status, [Status::Open, Status::Open, Status::Open, Status::Cached]);
}

#[test]
fn an_equal_result_stops_the_change_from_spreading() {
    let mut graph = [sum(0, &[]), sum(5, &[0]), sum(7, &[1])];
    let mut driver = Driver::default();
    driver.solve(&graph, false);
    // The source is another one that holds the same.
    graph[0].slow = true;
    let (result, _) = driver.solve(&graph, false);
    assert_eq!(result, 12);
    assert!(driver.ran.is_empty(), "content keys are equal: {:?}", driver.ran);
}

#[test]
fn a_vertex_that_ignores_the_cache_runs_and_its_dependents_are_found_by_content() {
    let mut graph = [sum(1, &[]), sum(2, &[0]), sum(3, &[1])];
    let mut driver = Driver::default();
    driver.solve(&graph, false);
    graph[1].ignore_cache = true;
    let (_, status) = driver.solve(&graph, true);
    assert_eq!(driver.ran, [1]);
    assert_eq!(status, [Status::Cached, Status::Ran, Status::Cached]);
}

#[test]
fn a_change_runs_what_depends_on_it_and_nothing_else() {
    let mut graph = [sum(1, &[]), sum(2, &[]), sum(3, &[0]), sum(4, &[1]), sum(5, &[2, 3])];
    let mut driver = Driver::default();
    driver.solve(&graph, false);
    graph[1].number = 20;
    assert_eq!(driver.solve(&graph, false).0, 1 + 3 + 20 + 4 + 5);
    assert_eq!(driver.ran, [1, 3, 4]);
}

proptest::proptest! {
    #[test]
    fn any_graph_ends_with_the_right_sum_in_any_order(
        edges in proptest::collection::vec(proptest::collection::vec(0usize..100, 0..4), 1..20),
        slow in proptest::collection::vec(proptest::bool::ANY, 20),
        ignore in proptest::collection::vec(proptest::bool::ANY, 20),
        reverse in proptest::bool::ANY,
    ) {
        let mut graph = Vec::new();
        for (index, inputs) in edges.iter().enumerate() {
            let inputs = if index == 0 { Vec::new() } else { inputs.iter().map(|input| input % index).collect() };
            graph.push(Sum { number: index as u64 + 1, inputs, ignore_cache: ignore[index], slow: slow[index] });
        }
        let mut expected: Vec<u64> = Vec::new();
        for it in &graph {
            expected.push(it.number + it.inputs.iter().map(|&input| expected[input]).sum::<u64>());
        }
        let mut driver = Driver::default();
        let last = expected[graph.len() - 1];
        proptest::prop_assert_eq!(driver.solve(&graph, reverse).0, last);
        proptest::prop_assert_eq!(driver.solve(&graph, !reverse).0, last);
        let must_run: Vec<usize> = driver.ran.iter().copied().filter(|&vertex| !graph[vertex].ignore_cache).collect();
        proptest::prop_assert!(must_run.is_empty(), "ran without need: {:?}", must_run);
    }
}
