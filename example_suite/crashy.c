/* A C extension with bugs that really crash, for the suite beside it.
 *
 * Each function is one bug, named after it. `volatile` keeps the compiler from
 * proving that the behaviour is undefined and leaving the bug out; setup.py
 * compiles without optimisation as well.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* The hidden global: nothing puts it back after a test. */
static long unit_in_metres = 1;

static PyObject *
in_metres(PyObject *module, PyObject *args)
{
    long length;
    (void)module;
    if (!PyArg_ParseTuple(args, "l", &length))
        return NULL;
    return PyLong_FromLong(length * unit_in_metres);
}

static PyObject *
set_unit(PyObject *module, PyObject *args)
{
    long metres;
    (void)module;
    if (!PyArg_ParseTuple(args, "l", &metres))
        return NULL;
    unit_in_metres = metres;
    return Py_BuildValue("");
}

static PyObject *
divide(PyObject *module, PyObject *args)
{
    long dividend, divisor;
    (void)module;
    if (!PyArg_ParseTuple(args, "ll", &dividend, &divisor))
        return NULL;
#if !defined(__x86_64__) && !defined(__i386__)
    /* Only x86 traps here; ARM, for one, answers 0. */
    if (divisor == 0)
        raise(SIGFPE);
#endif
    volatile long quotient = dividend / divisor;
    return PyLong_FromLong(quotient);
}

static PyObject *
null_pointer(PyObject *module, PyObject *args)
{
    long *volatile nowhere = NULL;
    (void)module, (void)args;
    return PyLong_FromLong(*nowhere);
}

static PyObject *
abort_with_a_message(PyObject *module, PyObject *args)
{
    static const char message[] = "crashy: the index is corrupt\n";
    (void)module, (void)args;
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) {
        /* nobody listens, the abort says it all */
    }
    abort();
}

static PyObject *
double_free(PyObject *module, PyObject *args)
{
    void *volatile block = malloc(64);
    (void)module, (void)args;
    free(block);
    free(block);
    return Py_BuildValue("");
}

static long
depth_of(volatile long depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    if (depth < 0) /* never, but the compiler cannot know */
        return 0;
    return depth_of(depth + 1) + frame[0];
}

static PyObject *
stack_overflow(PyObject *module, PyObject *args)
{
    /* Under `ulimit -s unlimited` it would eat the machine's memory instead. */
    struct rlimit stack;
    (void)module, (void)args;
    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur == RLIM_INFINITY) {
        stack.rlim_cur = 8 * 1024 * 1024;
        setrlimit(RLIMIT_STACK, &stack);
    }
    return PyLong_FromLong(depth_of(0));
}

static PyObject *
endless_loop(PyObject *module, PyObject *args)
{
    /* The GIL is held: no Python code runs any more, in no thread. */
    volatile int goes_on = 1;
    (void)module, (void)args;
    while (goes_on) {
    }
    return Py_BuildValue("");
}

static PyObject *
leave(PyObject *module, PyObject *args)
{
    int status;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &status))
        return NULL;
    exit(status);
}

static PyObject *
leave_at_once(PyObject *module, PyObject *args)
{
    int status;
    (void)module;
    if (!PyArg_ParseTuple(args, "i", &status))
        return NULL;
    _exit(status);
}

static PyMethodDef functions[] = {
    {"in_metres", in_metres, METH_VARARGS, "in_metres(length): the length in metres."},
    {"set_unit", set_unit, METH_VARARGS, "set_unit(metres): what a length is counted in."},
    {"divide", divide, METH_VARARGS, "divide(a, b): the quotient. SIGFPE where b is 0."},
    {"null_pointer", null_pointer, METH_NOARGS, "Read through a null pointer: SIGSEGV."},
    {"abort", abort_with_a_message, METH_NOARGS, "Write a message and abort: SIGABRT."},
    {"double_free", double_free, METH_NOARGS, "Free a block twice: the C library aborts."},
    {"stack_overflow", stack_overflow, METH_NOARGS, "Call itself for ever: SIGSEGV."},
    {"endless_loop", endless_loop, METH_NOARGS, "Never return, never give the GIL back."},
    {"leave", leave, METH_VARARGS, "leave(status): call C's exit()."},
    {"leave_at_once", leave_at_once, METH_VARARGS, "leave_at_once(status): call _exit()."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef crashy = {
    PyModuleDef_HEAD_INIT, "crashy", "Bugs that really crash.", -1, functions,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_crashy(void)
{
    return PyModule_Create(&crashy);
}
