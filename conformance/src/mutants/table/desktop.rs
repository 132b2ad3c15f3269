//! Computer use: the desktop's processes, its screen, mouse and keyboard, its widgets, recordings.

use super::prelude::*;

const START: Names = &["computer_use/processes_start"];
const RESTART: Names = &["computer_use/processes_tell_and_restart"];
const SCREEN: Names = &["computer_use/screenshot_is_the_display"];
const REGION: Names = &["computer_use/region_has_its_size"];
const SMALLER: Names = &["computer_use/screenshots_are_compressed"];
const SHOTS: Names = &["computer_use/screenshot_parameters_are_checked"];
const MOUSE: Names = &["computer_use/mouse_acts_on_windows"];
const KEYS: Names = &["computer_use/keyboard_acts_on_windows"];
const INPUT: Names = &["computer_use/input_is_validated"];
const TREE: Names = &["computer_use/tree_has_widgets"];
const WIDGETS: Names = &["computer_use/widgets_are_used"];
const NODES: Names = &["computer_use/accessibility_requests_are_checked"];
const FILM: Names = &["computer_use/recordings_are_made"];
const BARE: Names = &["computer_use/nothing_without_an_x_server"];
const FILMS: Names = &["computer_use/recording_requests_are_checked"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in(
        "computer_use/start-in-other-words",
        "a start has another message",
        &["StartComputerUse"],
        START,
        |_, a| {
            a.edit(|v| set(v, "/message", "started"));
        },
    ),
    answer_in(
        "computer_use/starts-again",
        "a second start makes other processes",
        &["StartComputerUse"],
        START,
        |q, a| {
            if q.number > 0 {
                a.edit(|v| set(v, "/status/xvfb/pid", 1));
            }
        },
    ),
    answer_in(
        "computer_use/never-active",
        "the desktop is told as inactive",
        &["GetComputerUseSystemStatus"],
        START,
        |_, a| a.edit(|v| set(v, "/status", "inactive")),
    ),
    answer_in("computer_use/nothing-runs", "no process is told as running", &["GetProcessStatus"], START, |_, a| {
        a.edit(|v| set(v, "/running", false));
    }),
    ignored_in(
        "computer_use/restart-does-nothing",
        "a restart is answered and not done",
        &["RestartProcess"],
        RESTART,
        200,
        r#"{"message":"Process xfce4 restarted successfully","processName":"xfce4"}"#,
    ),
    answer_in("computer_use/logs-are-a-list", "what a process said is a list", &["GetProcessLogs"], RESTART, |_, a| {
        a.edit(|v| set(v, "/logs", json!([])));
    }),
    answer_in(
        "computer_use/every-process-is-there",
        "a process that there isn't has a status",
        &["GetProcessStatus"],
        &["computer_use/unknown_processes_are_refused"],
        |_, a| {
            for status in [400, 404, 500, 503] {
                a.restatus(status, 200);
            }
        },
    ),
    answer_in(
        "computer_use/nothing-stops",
        "after a stop everything runs",
        &["StopComputerUse"],
        &["computer_use/processes_stop"],
        |_, a| a.edit(|v| set(v, "/status/xvfb/running", true)),
    ),
    answer_in(
        "computer_use/screen-after-the-end",
        "a stopped desktop has a screen",
        &["TakeScreenshot"],
        &["computer_use/processes_stop"],
        |_, a| {
            for status in [400, 500, 503] {
                a.restatus(status, 200);
            }
        },
    ),
    answer_in("computer_use/wider-display", "the display is one pixel wider", &["GetDisplayInfo"], SCREEN, |_, a| {
        a.edit(|v| {
            each(v, "/displays", |display| {
                let width = display["width"].as_u64().unwrap_or_default();
                set(display, "/width", width + 1);
            });
        });
    }),
    answer_in(
        "computer_use/cursor-always",
        "the cursor's position is always told",
        &["TakeScreenshot"],
        SCREEN,
        |_, a| {
            a.edit(|v| put(v, "cursorPosition", json!({"x": 7, "y": 7})));
        },
    ),
    answer_in("computer_use/data-url", "a screenshot is a data URL", &["TakeScreenshot"], SCREEN, |_, a| {
        a.edit(|v| string(v, "/screenshot", |data| format!("data:image/png;base64,{data}")));
    }),
    request_in("computer_use/wider-region", "a region is one pixel wider", &["TakeRegionScreenshot"], REGION, |q| {
        q.set_query("width", Some("121"));
    }),
    request_in("computer_use/scale-ignored", "`scale` is ignored", &["TakeCompressedScreenshot"], SMALLER, |q| {
        q.set_query("scale", None);
    }),
    request_in("computer_use/format-ignored", "`format` is ignored", &["TakeCompressedScreenshot"], SMALLER, |q| {
        q.set_query("format", None);
    }),
    answer_in(
        "computer_use/bytes-of-the-text",
        "`sizeBytes` counts the base64 text",
        &["TakeCompressedScreenshot"],
        SMALLER,
        |_, a| {
            a.edit(|v| {
                let length = v["screenshot"].as_str().map_or(0, str::len);
                set(v, "/sizeBytes", length);
            });
        },
    ),
    request_in(
        "computer_use/region-not-scaled",
        "`scale` of a region is ignored",
        &["TakeCompressedRegionScreenshot"],
        SMALLER,
        |q| {
            q.set_query("scale", None);
        },
    ),
    answer_in(
        "computer_use/parameters-not-checked",
        "bad parameters of screenshots are 200",
        &["TakeRegionScreenshot", "TakeCompressedScreenshot"],
        SHOTS,
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "computer_use/window-with-frame",
        "a window is told with its frame",
        &["GetWindows"],
        &["computer_use/windows_are_listed"],
        |_, a| {
            a.edit(|v| {
                each(v, "/windows", |window| {
                    let height = window["height"].as_u64().unwrap_or_default();
                    set(window, "/height", height + 24);
                });
            });
        },
    ),
    request_in("computer_use/moves-too-far", "the mouse moves one pixel too far", &["MoveMouse"], MOUSE, |q| {
        q.edit(|v| {
            let x = v["x"].as_i64().unwrap_or_default();
            set(v, "/x", x + 1);
        });
    }),
    answer_in("computer_use/axes-swapped", "x and y are exchanged", &["GetMousePosition"], MOUSE, |_, a| {
        a.edit(|v| swap(v, "x", "y"));
    }),
    request_in("computer_use/left-is-right", "the left button is the right one", &["Click"], MOUSE, |q| {
        q.edit(|v| {
            if v["button"] == "left" {
                set(v, "/button", "right");
            }
        });
    }),
    answer_in("computer_use/drag-answers-its-start", "a drag ends where it began", &["Drag"], MOUSE, |_, a| {
        a.edit(|v| set(v, "/x", 240));
    }),
    answer_in("computer_use/scroll-fails", "a scroll says that it failed", &["Scroll"], MOUSE, |_, a| {
        a.edit(|v| set(v, "/success", false));
    }),
    request_in("computer_use/types-ascii", "letters beyond ASCII aren't typed", &["TypeText"], KEYS, |q| {
        q.edit(|v| string(v, "/text", |text| text.chars().filter(char::is_ascii).collect()));
    }),
    answer_in("computer_use/key-with-204", "a key is answered 204", &["PressKey", "PressHotkey"], KEYS, |_, a| {
        a.restatus(200, 204);
    }),
    answer_in(
        "computer_use/any-key",
        "keys that there aren't are pressed",
        &["PressKey", "PressHotkey", "TypeText"],
        INPUT,
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "computer_use/any-button",
        "buttons that there aren't are clicked",
        &["Click", "Scroll"],
        INPUT,
        |_, a| {
            a.restatus(400, 200);
        },
    ),
    answer_in("computer_use/nameless", "widgets have no names in the tree", &["GetAccessibilityTree"], TREE, |_, a| {
        a.text(|text| text.replace("\"Go\"", "\"\""));
    }),
    request_in("computer_use/depth-ignored", "`maxDepth` is ignored", &["GetAccessibilityTree"], TREE, |q| {
        q.set_query("maxDepth", None);
    }),
    answer_in("computer_use/no-bounds", "widgets have no size", &["FindAccessibilityNodes"], TREE, |_, a| {
        a.edit(|v| each(v, "/matches", |node| set(node, "/bounds", json!({"x": 0, "y": 0, "width": 0, "height": 0}))));
    }),
    request_in(
        "computer_use/finds-everything",
        "a name doesn't narrow a search",
        &["FindAccessibilityNodes"],
        TREE,
        |q| {
            q.edit(|v| {
                if v["name"] == "no such name" {
                    remove(v, "/name");
                }
            });
        },
    ),
    request_in(
        "computer_use/other-value",
        "a widget gets another value",
        &["SetAccessibilityNodeValue"],
        WIDGETS,
        |q| {
            q.edit(|v| set(v, "/value", "Bob"));
        },
    ),
    answer_in("computer_use/any-action", "every action can be done", &["InvokeAccessibilityNode"], WIDGETS, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("computer_use/no-focus", "no widget takes the focus", &["FocusAccessibilityNode"], WIDGETS, |_, a| {
        a.restatus(200, 400);
    }),
    answer_in(
        "computer_use/gone-nodes-are-400",
        "a node that isn't there is 400",
        &["FocusAccessibilityNode", "InvokeAccessibilityNode"],
        NODES,
        |_, a| a.restatus(404, 400),
    ),
    answer_in("computer_use/any-scope", "any scope is taken", &["GetAccessibilityTree"], NODES, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("computer_use/recording-with-200", "a new recording is 200", &["StartRecording"], FILM, |_, a| {
        a.restatus(201, 200);
    }),
    answer_in("computer_use/not-listed", "a recording isn't listed", &["ListRecordings"], FILM, |_, a| {
        a.edit(|v| set(v, "/recordings", json!([])));
    }),
    answer_in("computer_use/goes-on-for-ever", "a stopped recording goes on", &["StopRecording"], FILM, |_, a| {
        a.edit(|v| set(v, "/status", "recording"));
    }),
    answer_in(
        "computer_use/film-begins-late",
        "the first bytes of a film are lost",
        &["DownloadRecording"],
        FILM,
        |_, a| {
            a.bytes(|bytes| drop(bytes.drain(..8.min(bytes.len()))));
        },
    ),
    ignored_in("computer_use/film-stays", "a deleted recording is still there", &["DeleteRecording"], FILM, 204, ""),
    answer_in("computer_use/label-lost", "a recording has another file", &["GetRecording"], FILM, |_, a| {
        a.edit(|v| set(v, "/fileName", "recording.mp4"));
    }),
    answer_in(
        "computer_use/active-ones-go",
        "a recording that goes on is deleted",
        &["DeleteRecording"],
        &["computer_use/active_recordings_stay"],
        |_, a| a.restatus(409, 204),
    ),
    answer_in(
        "computer_use/unknown-recording-is-400",
        "a recording that there isn't is 400",
        &["GetRecording", "DeleteRecording"],
        FILMS,
        |_, a| a.restatus(404, 400),
    ),
    answer_in(
        "computer_use/status-renamed",
        "the old status is in other words",
        &["GetComputerUseStatus"],
        START,
        |_, a| a.edit(|v| set(v, "/status", "up")),
    ),
    answer_in(
        "computer_use/no-errors",
        "what a process complained of isn't there",
        &["GetProcessErrors"],
        RESTART,
        |_, a| {
            a.edit(|v| drop(remove(v, "/errors")));
        },
    ),
    answer_in(
        "computer_use/starts-without-a-screen",
        "a desktop is started where there is no X server",
        &["StartComputerUse"],
        BARE,
        |_, a| a.restatus(503, 200),
    ),
    answer_in(
        "computer_use/stops-without-a-screen",
        "a desktop is stopped where there is none",
        &["StopComputerUse"],
        BARE,
        |_, a| a.restatus(503, 200),
    ),
    answer_in(
        "computer_use/missing-is-inactive",
        "a desktop that can't be is one that doesn't run",
        &["GetComputerUseSystemStatus", "GetComputerUseStatus"],
        BARE,
        |_, a| a.restatus(503, 200),
    ),
    answer_in(
        "computer_use/missing-without-a-reason",
        "why there is no desktop isn't told",
        &["StartComputerUse", "StopComputerUse"],
        BARE,
        |_, a| a.edit_error(|v| set(v, "/message", "error")),
    ),
    answer_in(
        "computer_use/unreadable-is-404",
        "recordings that can't be read are not found",
        &["ListRecordings"],
        &["computer_use/unreadable_recordings_are_told"],
        |_, a| a.restatus(500, 404),
    ),
];
