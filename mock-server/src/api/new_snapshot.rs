//! `createSnapshot`.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use regex::Regex;
use serde_json::Value;

use super::{
    auth::Caller,
    body::Body,
    create::{GPU_TYPES, build_info},
    error::{ApiError, ApiResult, ok},
    snapshots::dto,
    validate::Checks,
};
use crate::model::{Class, ControlPlane, MadeOf, NewSnapshot};

const CLASSES: [&str; 4] = ["linux-vm", "container", "android", "windows"];
/// What one sandbox may have (observed: enforced for snapshots even where quotas are not).
const MAX_CPU: u32 = 4;
const MAX_MEMORY: u32 = 8;
const MAX_DISK: u32 = 10;

/// Answers at once, with a snapshot that is `pending`.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let mut checks = Checks::new(&body);
    let name = required_name(&mut checks);
    let image = checks.string("imageName").filter(|image| !image.is_empty());
    let entrypoint = words(&mut checks, "entrypoint");
    let [cpu, memory, disk] = ["cpu", "memory", "disk"].map(|name| whole(&mut checks, name));
    let gpu = whole(&mut checks, "gpu").unwrap_or(0);
    checks.words("gpuType", &GPU_TYPES);
    let build = checks.object("buildInfo").map(build_info);
    let region = checks.string("regionId").filter(|region| !region.is_empty());
    let class = checks.string("sandboxClass").filter(|class| !class.is_empty());
    if class.as_deref().is_some_and(|class| !CLASSES.contains(&class)) {
        checks.problem(format!("sandboxClass must be one of the following values: {}", CLASSES.join(", ")));
    }
    checks.finish()?;
    check_name(&name)?;
    let made_of = source(image, build, entrypoint.is_some())?;
    let region = match region {
        Some(region) => cp.region(caller.organization(), &region)?,
        None => cp.default_region(caller.organization())?,
    };
    let class = class.unwrap_or_else(|| Class::default().as_str().to_owned());
    let Some(class) = Class::ALL.iter().copied().find(|one| one.as_str() == class) else {
        return Err(ApiError::bad_request(format!(
            "No runners are configured in region '{region}' for sandbox class '{class}'. Try a different region or sandbox class."
        )));
    };
    if gpu > 0 {
        return Err(ApiError::bad_request("No available runners"));
    }
    check_size(cpu, memory, disk)?;
    let new = NewSnapshot { name, made_of, entrypoint, region, cpu, memory, disk, class };
    let snapshot = cp.create_snapshot(&caller.0, new).await?;
    Ok(ok(&dto(&snapshot, cp.runner_id())))
}

fn required_name(checks: &mut Checks) -> String {
    if checks.given("name").is_none() {
        checks.problem("name must be a string");
    }
    checks.name("name").unwrap_or_default()
}

fn words(checks: &mut Checks, name: &str) -> Option<Vec<String>> {
    let value = checks.given(name)?;
    let Some(items) = value.as_array() else {
        checks.problem(format!("{name} must be an array"));
        return None;
    };
    let words: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    if words.is_none() {
        checks.problem(format!("each value in {name} must be a string"));
    }
    words.filter(|words| !words.is_empty())
}

fn whole(checks: &mut Checks, name: &str) -> Option<u32> {
    checks.resource(name, None);
    let number = checks.given(name).and_then(Value::as_f64)?;
    if number.fract() != 0.0 || number > f64::from(u32::MAX) {
        checks.problem(format!("{name} must be an integer number"));
    }
    Some(number as u32)
}

fn check_name(name: &str) -> ApiResult<()> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        let name = r"^[a-zA-Z0-9][a-zA-Z0-9_.:-]*(/[a-zA-Z0-9][a-zA-Z0-9_.:-]*)*(@sha256:[a-f0-9]{64})?$";
        Regex::new(name).expect("a good pattern")
    });
    if NAME.is_match(name) && name.len() <= 255 {
        return Ok(());
    }
    let text = "Invalid snapshot name format. May contain letters, digits, dots, colons, and dashes";
    Err(ApiError::bad_request(text))
}

fn source(image: Option<String>, build: Option<(String, Vec<String>)>, entrypoint: bool) -> ApiResult<MadeOf> {
    match (image, build) {
        (None, None) => Err(ApiError::bad_request("Must specify an image name when not using a build info entry")),
        (Some(_), Some(_)) => Err(ApiError::bad_request("Cannot specify an image name when using a build info entry")),
        (None, Some(_)) if entrypoint => {
            Err(ApiError::bad_request("Cannot specify an entrypoint when using a build info entry"))
        }
        (None, Some((dockerfile, context_hashes))) => Ok(MadeOf::Build { dockerfile, context_hashes }),
        (Some(image), None) => check_image(&image).map(|()| MadeOf::Image(image)),
    }
}

fn check_image(image: &str) -> ApiResult<()> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        let host = r"^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*";
        Regex::new(&format!("{host}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?$")).expect("a good pattern")
    });
    let refuse = |text: &str| Err(ApiError::bad_request(text));
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse("Invalid digest format. Must be image@sha256:64_hex_characters");
        }
    }
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match tag {
        None if digest.is_none() => {
            return refuse("Image name must include a tag (e.g., ubuntu:22.04) or digest (@sha256:...)");
        }
        Some("latest") => return refuse("Images with tag \":latest\" are not allowed"),
        _ => {}
    }
    if NAME.is_match(name) {
        return Ok(());
    }
    refuse(
        "Invalid image name format. Must be lowercase, may contain digits, dots, dashes, and single slashes between components",
    )
}

fn check_size(cpu: Option<u32>, memory: Option<u32>, disk: Option<u32>) -> ApiResult<()> {
    const MORE: &str = "\nNeed higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about your use case.";
    let checks = [("CPU", cpu, MAX_CPU, ""), ("Memory", memory, MAX_MEMORY, "GB"), ("Disk", disk, MAX_DISK, "GB")];
    for (what, asked, max, unit) in checks {
        if let Some(asked) = asked.filter(|asked| *asked > max) {
            let text = format!("{what} request {asked}{unit} exceeds maximum allowed per sandbox ({max}{unit}).{MORE}");
            return Err(ApiError::bad_request(text));
        }
    }
    Ok(())
}
