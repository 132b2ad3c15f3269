var babelHelpers = {
  decorate(decorators, target, key, descriptor) {
    var member = arguments.length > 2;
    if (descriptor === null) descriptor = Object.getOwnPropertyDescriptor(target, key);
    var result = member ? descriptor : target;
    for (var i = decorators.length - 1; i >= 0; i--) {
      var decorator = decorators[i];
      if (!decorator) continue;
      result = (member ? decorator(target, key, result) : decorator(result)) || result;
    }
    if (member && result) Object.defineProperty(target, key, result);
    return result;
  },
  decorateParam(index, decorator) {
    return function (target, key) { decorator(target, key, index); };
  },
  decorateMetadata(key, value) {
    return typeof Reflect.metadata === "function" ? Reflect.metadata(key, value) : undefined;
  },
  usingCtx() {
    var none = {}, resources = [];
    var Suppressed = typeof SuppressedError === "function" ? SuppressedError : class SuppressedError extends Error {
      constructor(error, suppressed, message) {
        super(message);
        this.name = "SuppressedError";
        this.error = error;
        this.suppressed = suppressed;
      }
    };
    var add = function (isAsync, value) {
      if (value === null || value === undefined) {
        if (isAsync) resources.push({isAsync: isAsync});
        return value;
      }
      if (Object(value) !== value) throw new TypeError("using declarations can only be used with objects, functions, null, or undefined.");
      var dispose = isAsync ? value[Symbol.asyncDispose] : undefined;
      if (dispose === undefined) dispose = value[Symbol.dispose];
      if (typeof dispose !== "function") throw new TypeError("Object is not disposable.");
      resources.push({isAsync: isAsync, value: value, dispose: dispose});
      return value;
    };
    return {
      e: none,
      u: add.bind(null, false),
      a: add.bind(null, true),
      d() {
        var failure = this.e;
        var fail = function (error) {
          failure = failure === none ? error : new Suppressed(error, failure, "An error was suppressed during disposal.");
        };
        var next = function () {
          for (var resource; (resource = resources.pop());) {
            try {
              var result = resource.dispose && resource.dispose.call(resource.value);
              if (resource.isAsync) return Promise.resolve(result).then(next, function (error) { fail(error); return next(); });
            } catch (error) {
              fail(error);
              if (resource.isAsync) return Promise.resolve().then(next);
            }
          }
          if (failure !== none) throw failure;
        };
        return next();
      },
    };
  },
};
