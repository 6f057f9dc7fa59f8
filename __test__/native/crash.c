/* An addon of Node's C interface whose function dies below JavaScript: crash(f) calls f from C, then writes to address 16. */
#include <node_api.h>

static napi_value crash(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value function, undefined, result;
  napi_get_cb_info(env, info, &count, &function, NULL, NULL);
  napi_get_undefined(env, &undefined);
  if (count == 1) napi_call_function(env, undefined, function, 0, NULL, &result);
  *(volatile int *)16 = 1;
  return undefined;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "crash", NAPI_AUTO_LENGTH, crash, NULL, &function);
  napi_set_named_property(env, exports, "crash", function);
  return exports;
}
