//! What `plan` says is what `build` then does.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{Access, Context, Program, Registry, ServerOptions, outcome, success, with_shell};

fn plan(program: &Program, context: &Context, flags: &str) -> Value {
    let line = format!("plan --format json {flags} .");
    let (stdout, _) = success(program.command(&line).current_dir(context.path()));
    serde_json::from_str(&stdout).expect("it is JSON")
}

/// Verdicts of the steps that are no inputs, by id.
fn verdicts(plan: &Value) -> BTreeMap<String, (String, String)> {
    let steps = plan["steps"].as_array().expect("steps");
    let work = steps.iter().filter(|step| step["kind"] == "run" || step["kind"] == "files");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    work.map(|step| (text(&step["id"]), (text(&step["verdict"]), text(&step["name"])))).collect()
}

/// Which vertices a build found in the cache, by id: `false` ran.
fn built(program: &Program, context: &Context, flags: &str) -> BTreeMap<String, bool> {
    let line = format!("build --progress rawjson {flags} .");
    let (_, stderr) = success(program.command(&line).current_dir(context.path()));
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for line in stderr.lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line).expect("each line is JSON");
        for vertex in event["vertexes"].as_array().into_iter().flatten() {
            let id = vertex["digest"].as_str().expect("a digest").to_owned();
            let cached = vertex["cached"] == true;
            if cached || vertex["completed"].is_string() {
                *found.entry(id).or_insert(cached) |= cached;
            }
        }
    }
    found
}

/// Plans, builds, and compares: what would run ran, what is cached was cached. Gives how many of each, and how many could
/// not be known; of these, the ones that ran.
fn agree(program: &Program, context: &Context, flags: &str) -> (usize, usize, usize, usize) {
    let planned = verdicts(&plan(program, context, flags));
    let built = built(program, context, flags);
    let (mut cached, mut runs, mut unknown, mut unknown_ran) = (0, 0, 0, 0);
    for (id, (verdict, name)) in &planned {
        let found = *built.get(id).unwrap_or_else(|| panic!("the build did not have {name}"));
        match verdict.as_str() {
            "cached" => {
                assert!(found, "{name} was planned as cached, and ran");
                cached += 1;
            }
            "run" => {
                assert!(!found, "{name} was planned to run, and was cached");
                runs += 1;
            }
            "unknown" => {
                unknown += 1;
                unknown_ran += usize::from(!found);
            }
            other => panic!("{name} is `{other}`"),
        }
    }
    (runs, cached, unknown, unknown_ran)
}

/// The reasons of a step, by a part of its name.
fn reasons(plan: &Value, name: &str) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["name"].as_str().is_some_and(|it| it.contains(name)));
    let step = step.unwrap_or_else(|| panic!("no step `{name}` in {plan:#}"));
    let reasons = step["reasons"].as_array().expect("reasons").iter();
    reasons.map(|reason| reason["text"].as_str().expect("a text").to_owned()).collect()
}

const STAGES: &str = "FROM shell AS build
ARG VERSION=1
WORKDIR /src
COPY src/ ./
RUN --mount=type=cache,target=/cache cat *.c > /out; echo $VERSION >> /out
FROM shell AS unused
RUN false
FROM shell
COPY --from=build /out /out
RUN busybox wc -c < /out > /size
";

#[test]
fn several_stages_with_changes_of_every_kind() {
    let program = Program::new();
    let context = with_shell(STAGES).file("src/main.c", "1").file("src/util.c", "2");
    // Nothing is known, so everything runs: the unused stage is not among it.
    let first = plan(&program, &context, "");
    let used: Vec<(&str, bool)> = first["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| (stage["name"].as_str().expect("a name"), stage["used"] == true))
        .collect();
    assert_eq!(used, [("shell", true), ("build", true), ("unused", false), ("stage-3", true)]);
    assert_eq!(agree(&program, &context, ""), (7, 0, 0, 0));
    assert_eq!(agree(&program, &context, ""), (0, 7, 0, 0));

    fs_err::write(context.join("src/main.c"), "changed").expect("a file can be written");
    let changed = plan(&program, &context, "");
    assert_eq!(reasons(&changed, "COPY src/ ./")[0], "src/main.c changed");
    assert!(reasons(&changed, "cat *.c")[0].starts_with("follows [build 2/3] COPY src/"));
    assert_eq!(
        reasons(&changed, "wc -c"),
        [
            "known once [build 3/3] RUN --mount=type=cache,target=/cache cat *.c > /out; echo 1 >> /out ran"
        ]
    );
    let (runs, _, unknown, unknown_ran) = agree(&program, &context, "");
    assert!(runs >= 2 && unknown == 2 && unknown_ran == 2, "{runs} {unknown} {unknown_ran}");
    assert_eq!(agree(&program, &context, "").0, 0);

    let argument = plan(&program, &context, "--build-arg VERSION=2");
    assert_eq!(reasons(&argument, "cat *.c"), ["argument VERSION changed"]);
    assert_eq!(agree(&program, &context, "--build-arg VERSION=2"), (1, 4, 2, 2));
    // Back again: both results of the step are kept.
    assert_eq!(agree(&program, &context, ""), (0, 7, 0, 0));

    fs_err::write(context.join("src/new.c"), "").expect("a file can be written");
    fs_err::remove_file(context.join("src/util.c")).expect("a file can be removed");
    let files = plan(&program, &context, "");
    assert_eq!(reasons(&files, "COPY src/ ./")[..2], ["src/new.c is new", "src/util.c is gone"]);
    agree(&program, &context, "");

    let asked = plan(&program, &context, "--no-cache-filter build");
    assert_eq!(reasons(&asked, "cat *.c"), ["asked for with --no-cache"]);
    agree(&program, &context, "--no-cache-filter build");
    let target = plan(&program, &context, "--target build");
    assert!(verdicts(&target).values().all(|(verdict, _)| verdict == "cached"));
}

#[test]
fn an_unknown_step_is_cached_when_the_one_before_it_gives_the_same() {
    let program = Program::new();
    let context =
        with_shell("RUN test -f /bin/sh && echo same > /made # 1\nRUN cat /made > /copy\n");
    assert_eq!(agree(&program, &context, ""), (4, 0, 0, 0));
    let path = context.join("Dockerfile");
    let text = fs_err::read_to_string(&path).expect("the Dockerfile can be read");
    fs_err::write(&path, text.replace("# 1", "# 2")).expect("the Dockerfile can be written");
    let changed = plan(&program, &context, "");
    assert_eq!(
        reasons(&changed, "# 2"),
        ["the instruction was `RUN test -f /bin/sh && echo same > /made # 1`"]
    );
    assert_eq!(agree(&program, &context, ""), (1, 2, 1, 0));
}

#[test]
fn platforms_share_steps_and_are_planned_apart() {
    let (program, registry) = (Program::new(), Registry::start());
    push_base(&registry, "");
    let context = Context::with_dockerfile(&format!(
        "FROM --platform=$BUILDPLATFORM {} AS tools\nRUN echo tool > /tool\n\
         FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nCOPY --from=tools /tool /tool\n",
        registry.name("base:1")
    ))
    .file("amd64", "1")
    .file("arm64", "2");
    let flags = "--platform linux/amd64,linux/arm64";
    let first = plan(&program, &context, flags);
    let steps = first["steps"].as_array().expect("steps");
    let shared: Vec<&Value> = steps
        .iter()
        .filter(|step| step["name"].as_str().is_some_and(|name| name.contains("RUN echo tool")))
        .collect();
    assert_eq!(shared.len(), 1, "it stands there once");
    assert_eq!(shared[0]["for"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(shared[0]["running"]["how"], "native");
    let (runs, cached, ..) = agree(&program, &context, flags);
    assert_eq!((runs, cached), (5, 0));
    fs_err::write(context.join("arm64"), "changed").expect("a file can be written");
    let changed = plan(&program, &context, flags);
    assert_eq!(changed["platforms"][0]["run"], 0);
    assert_eq!(changed["platforms"][1]["run"], 1, "what comes from the tools is the same");
    agree(&program, &context, flags);
}

/// Pushes an image with a shell and a file, from another store: the one under test knows nothing of it.
fn push_base(registry: &Registry, text: &str) {
    let context = with_shell("COPY extra /extra\n").file("extra", text);
    let line = format!("build -q -t {} --push .", registry.name("base:1"));
    success(Program::new().command(&line).current_dir(context.path()));
}

#[test]
fn a_changed_base_is_named_and_what_is_pulled_is_counted() {
    let (program, registry) = (Program::new(), Registry::start());
    let base = |text: &str| push_base(&registry, text);
    base("1");
    let context = Context::with_dockerfile(&format!(
        "FROM {}\nRUN echo one > /one\nCOPY file /file\n",
        registry.name("base:1")
    ))
    .file("file", "x");
    let first = plan(&program, &context, "");
    let image = &first["images"][0];
    assert!(image["pull"].as_u64().is_some_and(|bytes| bytes > 100_000), "{image:#}");
    assert_eq!((&image["pull"], &image["here"]), (&image["size"], &Value::from(0)));
    assert_eq!(agree(&program, &context, ""), (2, 0, 0, 0));
    let second = plan(&program, &context, "");
    assert_eq!(
        (&second["images"][0]["pull"], &second["images"][0]["maybe"]),
        (&Value::from(0), &Value::from(0))
    );
    base("2");
    let changed = plan(&program, &context, "");
    let name = registry.name("base:1");
    assert_eq!(reasons(&changed, "RUN echo one"), [format!("{name} is another image now")]);
    assert_eq!(agree(&program, &context, "").0, 1);
}

#[test]
fn a_push_shows_what_is_there_and_a_missing_login_is_a_problem() {
    let (program, registry) = (Program::new(), Registry::start());
    let context = Context::with_dockerfile("FROM scratch\nCOPY a /\n").file("a", "x");
    let flags = format!("-t {} --push", registry.name("app:1"));
    let first = plan(&program, &context, &flags);
    assert_eq!(first["pushes"][0]["now"]["state"], "nothing");
    let digest = {
        agree(&program, &context, &flags);
        registry.image("app:1").descriptor.digest.to_string()
    };
    let second = plan(&program, &context, &flags);
    assert_eq!(second["pushes"][0]["now"]["digest"], digest);

    let access = Access::Basic { user: "u".to_owned(), password: "p".to_owned() };
    let closed = Registry::with(ServerOptions { access, ..ServerOptions::default() });
    let name = closed.name("secret/base:1");
    let context = Context::with_dockerfile(&format!("FROM {name}\nRUN true\n"));
    let refused = plan(&program, &context, "");
    let problem = refused["problems"][0]["hint"].as_str().expect("a hint");
    assert!(problem.contains("crossdock login"), "{problem}");
    assert_eq!(reasons(&refused, "RUN true"), [format!("{name} could not be asked for")]);
    assert_eq!(refused["images"][0]["digest"], Value::Null);
}

#[test]
fn a_plan_leaves_no_trace() {
    let program = Program::new();
    let context = with_shell("RUN echo > /ran\n");
    let line = "plan -t app -o out --iidfile id --metadata-file meta .";
    success(program.command(line).current_dir(context.path()));
    for name in ["out", "id", "meta"] {
        assert!(!context.join(name).exists(), "{name} was written");
    }
    let (list, _) = success(&mut program.command("image ls"));
    assert!(!list.contains("app"), "{list}");
    assert_eq!(agree(&program, &context, ""), (3, 0, 0, 0));

    let line = "plan --output plan.svg --output plan.json .";
    let (stdout, _) = success(program.command(line).current_dir(context.path()));
    assert_eq!(stdout, "");
    let svg = fs_err::read_to_string(context.join("plan.svg")).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.contains("RUN echo &gt; /ran"), "{svg}");
    assert!(context.join("plan.json").exists());
}

#[test]
fn mistakes_are_those_of_a_build() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPY missing /\n");
    let run =
        |word: &str| outcome(program.command(&format!("{word} .")).current_dir(context.path()));
    let ((_, planned, code), (_, built, _)) = (run("plan"), run("build"));
    assert_eq!(code, 1);
    let place = "--> Dockerfile:2:1";
    assert!(planned.contains(place) && built.contains(place), "{planned}\n{built}");

    let context =
        with_shell("RUN --mount=type=secret,id=token,required=true cat /run/secrets/token\n");
    let wanting = plan(&program, &context, "");
    let message = wanting["problems"][0]["message"].as_str().expect("a message");
    assert!(message.starts_with("secret `token` was not passed"), "{message}");
    let given = plan(&program, &context, "--secret id=token,src=Dockerfile");
    assert_eq!(given["problems"], serde_json::json!([]));
}

#[test]
fn a_build_says_why_a_step_runs_again() {
    let program = Program::new();
    let context = with_shell("COPY file /\nRUN cat /file\n").file("file", "1");
    let build =
        || success(program.command("build --progress plain .").current_dir(context.path())).1;
    assert!(!build().contains("runs again"));
    fs_err::write(context.join("file"), "two").expect("a file can be written");
    let again = build();
    assert!(again.contains("runs again: file changed\n"), "{again}");
    assert!(again.contains("runs again: follows [3/4] COPY file /\n"), "{again}");
}
