use std::collections::{BTreeSet, VecDeque};

use oci::Digest;

/// A vertex as the solver sees it.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// The vertices it reads, by index. All are smaller than its own.
    pub inputs: Vec<usize>,
    /// The input (a position in `inputs`) that its result is stacked on. A cached result is only what the vertex added,
    /// so this input's result is needed even when the vertex itself is cached.
    pub base: Option<usize>,
    /// Never reuse an earlier result: run it. Vertices that depend on it then have no fast key.
    pub ignore_cache: bool,
    /// Costs nothing to run (a source, a merge), so that looking it up would be a waste.
    pub trivial: bool,
}

/// Something for the driver to do. Each is answered by the [`Event`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compute the vertex's key from its own definition and its inputs' fast keys, or find that it has none.
    FastKey {
        /// Which vertex.
        vertex: usize,
        /// The inputs' fast keys, in order.
        inputs: Vec<Digest>,
    },
    /// Find an earlier result under `key`.
    LookUp {
        /// Which vertex.
        vertex: usize,
        /// Fast or content key.
        key: Digest,
    },
    /// Compute the vertex's key from what its inputs hold. All inputs are done.
    ContentKey {
        /// Which vertex.
        vertex: usize,
    },
    /// Make the result from the record that was found and the base's result. The base, if there is one, is done.
    Load {
        /// Which vertex.
        vertex: usize,
    },
    /// Run the vertex. All inputs are done. Record the result under `keys`.
    Run {
        /// Which vertex.
        vertex: usize,
        /// Its fast key and its content key, where it has them.
        keys: Vec<Digest>,
    },
    /// The vertex was found by its content: record that result under its fast key also. Needs no answer.
    Remember {
        /// Which vertex.
        vertex: usize,
        /// Its fast key.
        key: Digest,
    },
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of [`Action::FastKey`].
    FastKey {
        /// Which vertex.
        vertex: usize,
        /// `None` when what it reads has to be looked at first.
        key: Option<Digest>,
    },
    /// Of [`Action::LookUp`].
    LookUp {
        /// Which vertex.
        vertex: usize,
        /// Whether a usable record was found.
        hit: bool,
    },
    /// Of [`Action::ContentKey`].
    ContentKey {
        /// Which vertex.
        vertex: usize,
        /// `None` when its inputs cannot be digested.
        key: Option<Digest>,
    },
    /// Of [`Action::Load`]: `false` when the record turned out to be unusable.
    Load {
        /// Which vertex.
        vertex: usize,
        /// Whether the result is there.
        loaded: bool,
    },
    /// Of [`Action::Run`].
    Run {
        /// Which vertex.
        vertex: usize,
    },
}

/// How a vertex ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not done, or not needed.
    Open,
    /// An earlier result was used.
    Cached,
    /// It ran.
    Ran,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody wants its result.
    Idle,
    /// Waits for its fast key.
    Keying,
    /// Looks for its fast key.
    FastLookUp,
    /// Found; waits for its base.
    Found,
    /// Waits for all inputs.
    Inputs,
    /// Computes its content key.
    ContentKeying,
    /// Looks for its content key.
    ContentLookUp,
    /// Loads what was found.
    Loading,
    /// Runs.
    Running,
    /// Has a result.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// Nobody needs it.
    Unasked,
    /// Waits for the inputs' keys.
    Waiting,
    /// The driver computes it.
    Asked,
    /// There is none.
    None,
    /// Known.
    Known(Digest),
}

struct State {
    vertex: Vertex,
    stage: Stage,
    fast: Key,
    content: Option<Digest>,
    found_by_content: bool,
    cached: bool,
    /// Vertices that wait for this one's key or result.
    dependents: Vec<usize>,
}

/// The state machine. See the crate's description.
pub struct Solver {
    states: Vec<State>,
    ready: VecDeque<usize>,
    actions: VecDeque<Action>,
    wanted: BTreeSet<usize>,
}

impl Solver {
    /// A solver for `vertices`, in an order in which inputs come before what reads them.
    ///
    /// # Panics
    /// When a vertex reads one that does not come before it.
    pub fn new(vertices: Vec<Vertex>) -> Self {
        let mut states: Vec<State> = Vec::with_capacity(vertices.len());
        for (index, vertex) in vertices.into_iter().enumerate() {
            for &input in &vertex.inputs {
                assert!(
                    input < index,
                    "vertex {index} reads vertex {input}, which does not come before it"
                );
                if !states[input].dependents.contains(&index) {
                    states[input].dependents.push(index);
                }
            }
            let fast = if vertex.ignore_cache { Key::None } else { Key::Unasked };
            let state = State {
                vertex,
                stage: Stage::Idle,
                fast,
                content: None,
                found_by_content: false,
                cached: false,
                dependents: Vec::new(),
            };
            states.push(state);
        }
        Self { states, ready: VecDeque::new(), actions: VecDeque::new(), wanted: BTreeSet::new() }
    }

    /// Asks for the result of a vertex.
    pub fn want(&mut self, vertex: usize) {
        self.wanted.insert(vertex);
        self.start(vertex);
    }

    /// The next thing to do; `None` when nothing can be done until an event comes, or everything is done.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            let vertex = self.ready.pop_front()?;
            self.step(vertex);
        }
    }

    /// Takes the outcome of an action.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::FastKey { vertex, key } => {
                self.states[vertex].fast = key.map_or(Key::None, Key::Known);
                self.ready.push_back(vertex);
                self.wake_dependents(vertex);
            }
            Event::LookUp { vertex, hit } => {
                let state = &mut self.states[vertex];
                let by_content = state.stage == Stage::ContentLookUp;
                if hit {
                    state.found_by_content = by_content;
                    state.stage = Stage::Found;
                } else if by_content {
                    self.run(vertex);
                    return;
                } else {
                    state.stage = Stage::Inputs;
                }
                self.ready.push_back(vertex);
            }
            Event::ContentKey { vertex, key } => {
                self.states[vertex].content.clone_from(&key);
                match key {
                    Some(key) => {
                        self.states[vertex].stage = Stage::ContentLookUp;
                        self.actions.push_back(Action::LookUp { vertex, key });
                    }
                    None => self.run(vertex),
                }
            }
            Event::Load { vertex, loaded } => {
                let state = &mut self.states[vertex];
                if loaded {
                    let key = match &state.fast {
                        Key::Known(key) if state.found_by_content => Some(key.clone()),
                        _ => None,
                    };
                    self.actions.extend(key.map(|key| Action::Remember { vertex, key }));
                    self.done(vertex, true);
                } else if state.found_by_content {
                    self.run(vertex);
                } else {
                    state.stage = Stage::Inputs;
                    self.ready.push_back(vertex);
                }
            }
            Event::Run { vertex } => {
                let state = &self.states[vertex];
                let from_cache = state.vertex.trivial
                    && state.vertex.inputs.iter().all(|&input| self.states[input].cached);
                self.done(vertex, from_cache);
            }
        }
    }

    /// Whether all wanted vertices are done.
    pub fn is_done(&self) -> bool {
        self.wanted.iter().all(|&vertex| self.states[vertex].stage == Stage::Done)
    }

    /// How a vertex ended. A vertex that only cached ones depend on was not needed, and counts as cached.
    pub fn status(&self, vertex: usize) -> Status {
        let state = &self.states[vertex];
        match state.stage {
            Stage::Done if state.cached => Status::Cached,
            Stage::Done => Status::Ran,
            _ => Status::Open,
        }
    }

    fn start(&mut self, vertex: usize) {
        let state = &mut self.states[vertex];
        if state.stage == Stage::Idle {
            state.stage = if state.vertex.trivial { Stage::Inputs } else { Stage::Keying };
            self.ready.push_back(vertex);
        }
    }

    fn wake_dependents(&mut self, vertex: usize) {
        let dependents = self.states[vertex].dependents.clone();
        self.ready.extend(dependents);
    }

    fn done(&mut self, vertex: usize, cached: bool) {
        let state = &mut self.states[vertex];
        state.stage = Stage::Done;
        state.cached = cached;
        self.wake_dependents(vertex);
    }

    /// Moves a vertex on as far as it goes without an outcome from outside.
    fn step(&mut self, vertex: usize) {
        self.step_key(vertex);
        match self.states[vertex].stage {
            Stage::Keying => match self.states[vertex].fast.clone() {
                Key::Unasked => self.ask_key(vertex),
                Key::Waiting | Key::Asked => {}
                Key::None => {
                    self.states[vertex].stage = Stage::Inputs;
                    self.ready.push_back(vertex);
                }
                Key::Known(key) => {
                    self.states[vertex].stage = Stage::FastLookUp;
                    self.actions.push_back(Action::LookUp { vertex, key });
                }
            },
            Stage::Found => {
                let state = &self.states[vertex].vertex;
                let base = state.base.map(|position| state.inputs[position]);
                if self.all_done(base.as_slice()) {
                    self.states[vertex].stage = Stage::Loading;
                    self.actions.push_back(Action::Load { vertex });
                }
            }
            Stage::Inputs => {
                let inputs = self.states[vertex].vertex.inputs.clone();
                if self.all_done(&inputs) {
                    let state = &mut self.states[vertex];
                    if state.vertex.trivial || state.vertex.ignore_cache {
                        self.run(vertex);
                    } else {
                        state.stage = Stage::ContentKeying;
                        self.actions.push_back(Action::ContentKey { vertex });
                    }
                }
            }
            _ => {}
        }
    }

    fn ask_key(&mut self, vertex: usize) {
        let state = &mut self.states[vertex];
        if state.fast == Key::Unasked {
            state.fast = Key::Waiting;
            self.ready.push_back(vertex);
        }
    }

    /// Asks for the fast key once those of all inputs are known.
    fn step_key(&mut self, vertex: usize) {
        if self.states[vertex].fast != Key::Waiting {
            return;
        }
        let inputs = self.states[vertex].vertex.inputs.clone();
        let mut keys = Vec::with_capacity(inputs.len());
        for &input in &inputs {
            match &self.states[input].fast {
                Key::Known(key) => keys.push(key.clone()),
                Key::None => {
                    self.states[vertex].fast = Key::None;
                    self.ready.push_back(vertex);
                    self.wake_dependents(vertex);
                    return;
                }
                Key::Unasked => self.ask_key(input),
                Key::Waiting | Key::Asked => {}
            }
        }
        if keys.len() == inputs.len() {
            self.states[vertex].fast = Key::Asked;
            self.actions.push_back(Action::FastKey { vertex, inputs: keys });
        }
    }

    fn all_done(&mut self, vertices: &[usize]) -> bool {
        for &vertex in vertices {
            self.start(vertex);
        }
        vertices.iter().all(|&vertex| self.states[vertex].stage == Stage::Done)
    }

    fn run(&mut self, vertex: usize) {
        let state = &mut self.states[vertex];
        state.stage = Stage::Running;
        let fast = match &state.fast {
            Key::Known(key) => Some(key.clone()),
            _ => None,
        };
        let keys = fast.into_iter().chain(state.content.clone()).collect();
        self.actions.push_back(Action::Run { vertex, keys });
    }
}
