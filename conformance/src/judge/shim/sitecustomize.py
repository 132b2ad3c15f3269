"""Records uses of members that the SDK doesn't have, and methods called without what they need. Changes nothing else: whatever
goes wrong in here is swallowed, and the program sees the SDK's own errors."""

import os
import sys

_FILE = os.environ.get("DAYTONA_CONFORMANCE_MISUSES")
_HERE = os.path.dirname(os.path.abspath(__file__))
_TOLD = set()
_MOST = 500


def _next_sitecustomize():
    """The machine's own one, which this one hides."""
    import importlib.machinery
    import importlib.util

    rest = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _place():
    """The innermost line that is the program's own."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        outside = "site-packages" in name or "dist-packages" in name or name == __file__ or name.startswith("<frozen")
        if not outside and os.sep + "asyncio" + os.sep not in name:
            short = os.path.relpath(name) if os.path.isabs(name) else name
            return f"{name if short.startswith('..') else short}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _tell(**misuse):
    try:
        import json

        line = json.dumps({**misuse, "at": _place()})
        if line in _TOLD or len(_TOLD) >= _MOST:
            return
        _TOLD.add(line)
        with open(_FILE, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except Exception:
        pass


def _reads(frame, name):
    """Whether a frame is at `x.name`, and not at hasattr(), getattr() or the like, which only look whether it is there."""
    import dis

    at = next((one for one in dis.get_instructions(frame.f_code) if one.offset == frame.f_lasti), None)
    return at is not None and at.opname in ("LOAD_ATTR", "LOAD_METHOD") and at.argval == name


def _listen(kind, cls, names, read_only=False):
    """`__getattr__` is asked for what isn't there, and raises what Python would have raised."""
    own = cls.__dict__.get("__getattr__")
    inherited = getattr(cls, "__getattr__", None)

    def __getattr__(self, name):
        if name in names and (not read_only or _reads(sys._getframe(1), name)):
            _tell(kind="member", on=kind, name=name, instead=names[name][1])
        if own is not None:
            return own(self, name)
        if inherited is not None:
            return inherited(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    cls.__getattr__ = __getattr__


def _around(cls, method, before=None, after=None):
    """Looks at a method's arguments before it gets them, and at what it returns."""
    import functools
    import inspect

    original = cls.__dict__.get(method)
    if not inspect.isfunction(original):
        return
    signature = inspect.signature(original)

    def look(how, *seen):
        try:
            if how is not None:
                how(*seen)
        except Exception:
            pass

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapper(self, *args, **kwargs):
            look(before, signature, (self, *args), kwargs)
            result = await original(self, *args, **kwargs)
            look(after, result)
            return result

    else:

        @functools.wraps(original)
        def wrapper(self, *args, **kwargs):
            look(before, signature, (self, *args), kwargs)
            result = original(self, *args, **kwargs)
            look(after, result)
            return result

    setattr(cls, method, wrapper)


def _fits(kind, cls, method):
    """Looks whether the arguments fit."""

    def look(signature, args, kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            shown = str(signature).replace("(self, ", "(")
            _tell(kind="argument", on=kind, name=method, argument=str(error).split("missing a required argument: ")[-1],
                  instead=f"{method}{shown[:200]}")

    _around(cls, method, before=look)


def _sized(kind, cls, method):
    """Looks whether a terminal gets a size: the SDK sends one of its own if not."""

    def look(signature, args, kwargs):
        if signature.bind(*args, **kwargs).arguments.get("pty_size") is None:
            _tell(kind="default", on=kind, name=method, argument="pty_size")

    _around(cls, method, before=look)


def _opens(kind, cls, method):
    """Keeps the token that a method returned. The journal has none: what the program prints is searched for these."""
    _around(cls, method, after=lambda link: _tell(kind="token", on=kind, name=method, argument=link.token))


def _keeps(cls):
    """Looks for fields that a model doesn't have: it drops them in silence."""
    import functools

    original = cls.__init__

    def look(model, given):
        # A program's own class has fields of its own, and may keep others.
        model_fields = getattr(model, "model_fields")
        if getattr(model, "model_config", {}).get("extra") == "allow":
            return
        fields = set(model_fields) | {field.alias for field in model_fields.values()}
        for name in given - fields:
            _tell(kind="dropped", on=cls.__name__, name=name)

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        try:
            look(type(self), kwargs.keys())
        except Exception:
            pass
        original(self, *args, **kwargs)

    cls.__init__ = __init__


_CLASSES = {
    "PtyHandle": ["PtyHandle", "AsyncPtyHandle"],
    "Sandbox": ["Sandbox", "AsyncSandbox"],
    "Process": ["Process", "AsyncProcess"],
    "FileSystem": ["FileSystem", "AsyncFileSystem"],
    "Daytona": ["Daytona", "AsyncDaytona"],
    "Git": ["Git", "AsyncGit"],
}
_NEEDED = {
    "PtyHandle": ["send_input", "resize"],
    "Process": ["exec", "code_run", "create_session", "execute_session_command", "create_pty_session",
                "connect_pty_session", "kill_pty_session", "resize_pty_session"],
    "FileSystem": ["create_folder", "delete_file", "list_files", "get_file_info", "upload_files"],
    "Daytona": ["get", "delete"],
    "Sandbox": ["get_preview_link", "set_labels"],
}
_PARAMS = ["CreateSandboxFromSnapshotParams", "CreateSandboxFromImageParams", "SessionExecuteRequest"]
# What a result has instead.
_RESULT = {"stdout": "result", "stderr": "result", "output": "result", "exitCode": "exit_code", "code": "exit_code"}


def _patch(module):
    """Whichever of the classes this module is the home of."""
    import json

    with open(os.path.join(_HERE, "wrong.json"), encoding="utf-8") as file:
        wrong = json.load(file)
    for kind, names in _CLASSES.items():
        for cls in map(vars(module).get, names):
            if not isinstance(cls, type) or cls.__module__ != module.__name__:
                continue
            _listen(kind, cls, wrong[kind])
            for method in _NEEDED.get(kind, []):
                _fits(kind, cls, method)
            if kind == "Process":
                _sized(kind, cls, "create_pty_session")
            if kind == "Sandbox":
                for method in ("get_preview_link", "create_signed_preview_url"):
                    _opens(kind, cls, method)
    result = vars(module).get("ExecuteResponse")
    if isinstance(result, type) and result.__module__ == module.__name__:
        _listen("ExecuteResponse", result, {name: (right, right) for name, right in _RESULT.items()}, read_only=True)
    for cls in map(vars(module).get, _PARAMS):
        if isinstance(cls, type) and cls.__module__ == module.__name__ and hasattr(cls, "model_fields"):
            _keeps(cls)


class _Watch:
    """Finds the SDK's modules as everyone would, and patches what they define once they have been loaded."""

    busy = False

    def find_spec(self, name, path=None, target=None):
        if self.busy or name.split(".")[0] not in ("daytona", "daytona_sdk"):
            return None
        self.busy = True
        try:
            finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        finally:
            self.busy = False
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            try:
                _patch(module)
            except Exception:
                pass

        spec.loader.exec_module = exec_module
        return spec


if _FILE:
    sys.meta_path.insert(0, _Watch())
try:
    _next_sitecustomize()
except Exception:
    pass
