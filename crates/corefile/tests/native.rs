//! Cores of small programs, made here by the kernel and by gcore, with gdb as the referee.

mod support;

use support::{Bench, assert_as_gdb, open};

const ABORT: &str = r#"
#include <stdlib.h>
#include <stdio.h>
static void __attribute__((noinline)) inner(int x) { if (x) abort(); puts("x"); }
static inline __attribute__((always_inline)) void middle(int x) { inner(x); puts("z"); }
static void __attribute__((noinline)) outer(int x) { middle(x); puts("y"); }
int main(int argc, char **argv) { (void)argv; outer(argc); return 0; }
"#;

const FAULT: &str = r"
#include <stddef.h>
struct list { struct list *next; long value; };
static long __attribute__((noinline)) sum(struct list *volatile list) {
  volatile long total = 0;
  for (int i = 0; i < 10; i++) { total += ((volatile struct list *)list)->value; list = list->next; }
  return total;
}
static long __attribute__((noinline)) deeper(struct list *list, int depth) {
  volatile char room[64];
  room[depth % 64] = 1;
  return depth ? deeper(list, depth - 1) + room[depth % 64] : sum(list) + room[0];
}
int main(void) { struct list one = { NULL, 1 }; return (int)deeper(&one, 20); }
";

const BAD_CALL: &str = r"
static int (*volatile nothing)(int);
static int __attribute__((noinline)) calls(int x) { return nothing(x) + 1; }
int main(int argc, char **argv) { (void)argv; return calls(argc); }
";

const HANDLER: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
static void __attribute__((noinline)) cleanup(int signal) { if (signal) abort(); }
static void handler(int signal) { cleanup(signal); }
static int __attribute__((noinline)) faulty(volatile int *where) { return *where + 1; }
int main(int argc, char **argv) {
  (void)argv;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  if (argc > 1) {
    stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
    sigaltstack(&stack, NULL);
    action.sa_flags = SA_ONSTACK;
  }
  sigaction(SIGSEGV, &action, NULL);
  return faulty((int *)8);
}
"#;

const THREADS: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_barrier_t barrier;
static void __attribute__((noinline)) sleeps(long number) { for (;;) { pause(); number++; } }
static void *work(void *number) { pthread_barrier_wait(&barrier); sleeps((long)number); return NULL; }
int main(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 64);
  for (long i = 0; i < 63; i++) pthread_create(&thread, NULL, work, (void *)i);
  pthread_barrier_wait(&barrier);
  usleep(300000);
  abort();
}
"#;

/// The program's core by the kernel, compared with gdb frame for frame.
fn compare(source: &str, options: &[&str], arguments: &str) {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile("program", source, options);
    let Some(core) = bench.die(&format!("./program {arguments}")) else {
        return;
    };
    let process = open(&core);
    assert_as_gdb(&process, &program, &core, &[]);
    assert!(process.executable().is_some());
    assert_eq!(process.mismatches().count(), 0);
}

#[test]
fn abort() {
    for options in [
        &["-g", "-O1"][..],
        &["-O2"],
        &["-g", "-O2", "-no-pie"],
        &["-g", "-O0", "-fno-omit-frame-pointer"],
        &["-g", "-O1", "-static"],
        &["-g", "-O1", "-static-pie"],
    ] {
        println!("{options:?}");
        compare(ABORT, options, "");
    }
}

#[test]
fn a_bad_pointer() {
    for options in [
        &["-g", "-O1"][..],
        &["-O2", "-s"],
        &["-O0", "-no-pie"],
        // Only .debug_frame.
        &[
            "-g",
            "-O1",
            "-fno-asynchronous-unwind-tables",
            "-fno-exceptions",
        ],
        &["-O1", "-Wl,--no-eh-frame-hdr"],
    ] {
        println!("{options:?}");
        compare(FAULT, options, "");
    }
}

#[test]
fn a_call_through_a_null_pointer() {
    compare(BAD_CALL, &["-g", "-O1"], "");
    compare(BAD_CALL, &["-g", "-O0"], "");
}

#[test]
fn in_a_signal_handler() {
    compare(HANDLER, &["-g", "-O1"], "");
    compare(HANDLER, &["-g", "-O1"], "on-its-own-stack");
    compare(HANDLER, &["-g", "-O1", "-static"], "");
}

#[test]
fn sixty_four_threads() {
    compare(THREADS, &["-g", "-O1", "-pthread"], "");
}
