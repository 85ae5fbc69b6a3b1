//! One plan in all its forms.

use build_api::{
    FileChange, Plan, PlannedImage, PlannedOutput, PlannedPlatform, PlannedPush, PlannedStage,
    PlannedStep, Problem, Reason, Remote, Running, StepKind, Verdict,
};
use oci::{Digest, Platform};

use super::layout::layout;
use super::{json, picture, text};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn step(
    name: &str,
    stage: &str,
    kind: StepKind,
    results: &[usize],
    needs: &[usize],
) -> PlannedStep {
    PlannedStep {
        id: Digest::of(name.as_bytes()),
        name: name.to_owned(),
        stage: stage.to_owned(),
        kind,
        platform: Some(platform("linux/amd64")),
        results: results.to_vec(),
        running: (kind == StepKind::Run).then_some(Running::Native),
        verdict: Verdict::Cached,
        reasons: Vec::new(),
        needs: needs.to_vec(),
        line: Some(needs.len() + 1),
    }
}

fn emulated() -> Running {
    Running::Emulated("qemu-aarch64 7.2.22".to_owned())
}

fn sample() -> Plan {
    let arm = |step: PlannedStep| PlannedStep { platform: Some(platform("linux/arm64")), ..step };
    let read = |step: PlannedStep| PlannedStep { verdict: Verdict::Read, ..step };
    let files = Reason::Files {
        names: vec!["src/a.c".to_owned(), "src/b.c".to_owned()],
        count: 5,
        change: FileChange::Changed,
    };
    let (both, first, second) = ([0, 1].as_slice(), [0].as_slice(), [1].as_slice());
    let steps = vec![
        read(step("[build 1/3] FROM base", "build", StepKind::Image, both, &[])),
        read(step("[internal] load build context", "", StepKind::Context, both, &[])),
        PlannedStep {
            verdict: Verdict::Runs,
            reasons: vec![files],
            ..step("[build 2/3] COPY src/ .", "build", StepKind::Files, both, &[0, 1])
        },
        PlannedStep {
            verdict: Verdict::Runs,
            reasons: vec![
                Reason::Arguments(vec!["VERSION".to_owned()]),
                Reason::After(vec!["[build 2/3] COPY src/ .".to_owned()]),
            ],
            ..step(
                "[build 3/3] RUN cc\n\t-o \u{1b}[31mapp <&> *.c",
                "build",
                StepKind::Run,
                both,
                &[2],
            )
        },
        step("[stage-2 2/3] RUN apk add <libs>", "stage-2", StepKind::Run, first, &[0]),
        PlannedStep {
            verdict: Verdict::Unknown,
            reasons: vec![Reason::UntilRan("[build 3/3] RUN cc".to_owned())],
            ..step(
                "[stage-2 3/3] COPY --from=build /app /",
                "stage-2",
                StepKind::Files,
                first,
                &[4, 3],
            )
        },
        arm(read(step("[stage-2 1/3] FROM base", "stage-2", StepKind::Image, second, &[]))),
        arm(PlannedStep {
            verdict: Verdict::Runs,
            running: Some(emulated()),
            reasons: vec![Reason::NeverBuilt],
            ..step("[stage-2 2/3] RUN apk add <libs>", "stage-2", StepKind::Run, second, &[6])
        }),
        arm(PlannedStep {
            verdict: Verdict::Runs,
            reasons: vec![Reason::NeverBuilt],
            ..step(
                "[stage-2 3/3] COPY --from=build /app /",
                "stage-2",
                StepKind::Files,
                second,
                &[7, 3],
            )
        }),
    ];
    let image = |step, arch: &str, here, pull| PlannedImage {
        step,
        name: "base:1".to_owned(),
        from: "registry.example/base".to_owned(),
        platform: platform(arch),
        digest: Some(Digest::of(b"base")),
        layers: 2,
        size: 3_400_000,
        here,
        pull,
        maybe: 0,
    };
    let stage = |name: &str, line, used| PlannedStage { name: name.to_owned(), line, used };
    Plan {
        platforms: vec![
            PlannedPlatform { platform: platform("linux/amd64"), running: Some(Running::Native) },
            PlannedPlatform { platform: platform("linux/arm64"), running: Some(emulated()) },
        ],
        stages: vec![stage("build", 1, true), stage("test", 4, false), stage("stage-2", 6, true)],
        steps,
        images: vec![
            image(0, "linux/amd64", 3_400_000, 0),
            image(6, "linux/arm64", 400_000, 3_000_000),
        ],
        outputs: vec![PlannedOutput {
            kind: "image",
            dest: None,
            names: vec!["registry.example/app:1".to_owned()],
        }],
        pushes: vec![PlannedPush {
            name: "registry.example/app:1".to_owned(),
            now: Remote::Image(Digest::of(b"old")),
            login: Some(false),
        }],
        problems: vec![Problem {
            message: "secret `token` was not passed".to_owned(),
            hint: Some("pass it with --secret id=token,src=FILE".to_owned()),
        }],
        warnings: Vec::new(),
    }
}

#[test]
fn a_plan_as_text() {
    insta::assert_snapshot!(text(&sample()));
}

#[test]
fn a_plan_as_json() {
    insta::assert_snapshot!(json(&sample()));
}

#[test]
fn a_plan_as_a_picture() {
    let picture = picture(&sample());
    assert!(!picture.contains('\u{1b}'), "control characters are no XML");
    insta::assert_snapshot!(picture);
}

#[test]
fn lines_go_down_and_boxes_do_not_meet() {
    // Many stages that copy from one another, for three platforms.
    let mut plan = sample();
    plan.platforms.push(PlannedPlatform { platform: platform("linux/s390x"), running: None });
    plan.steps.clear();
    for at in 0..300_usize {
        let needs: Vec<usize> =
            [at / 2, at / 3, at.saturating_sub(1)].into_iter().filter(|need| *need < at).collect();
        let results = [[0, 1, 2].as_slice(), [0].as_slice(), [1, 2].as_slice()][at % 3];
        let name = format!("[s{} 1/1] RUN {at}", at % 17);
        plan.steps.push(step(&name, &format!("s{}", at % 17), StepKind::Run, results, &needs));
    }
    let layout = layout(&plan);
    let mut seen = std::collections::BTreeSet::new();
    for cell in layout.cells.iter().flatten() {
        assert!(seen.insert((cell.column, cell.row)), "two boxes at {cell:?}");
        assert!(cell.column < layout.columns && cell.row < layout.rows);
    }
    assert_eq!(seen.len(), 300);
    for (from, to) in &layout.edges {
        assert!(layout.cells[*from].unwrap().row < layout.cells[*to].unwrap().row);
    }
    assert_eq!(picture(&plan), picture(&plan));
}
