/* What crashy.c needs of Python.h, for machines where Python came without it.
 *
 * Debian keeps the real one in python3-dev. All this is part of the stable ABI,
 * the same in every CPython from 3.2 on: docs.python.org/3/c-api/stable.html
 */
#ifndef CRASHY_STAND_IN_FOR_PYTHON_H
#define CRASHY_STAND_IN_FOR_PYTHON_H

#include <stddef.h>

typedef ptrdiff_t Py_ssize_t;

typedef struct {
    Py_ssize_t ob_refcnt;
    void *ob_type;
} PyObject;

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);

typedef struct {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

typedef struct {
    PyObject ob_base;
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
} PyModuleDef_Base;

typedef struct {
    PyModuleDef_Base m_base;
    const char *m_name;
    const char *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    void *m_slots;
    void *m_traverse;
    void *m_clear;
    void *m_free;
} PyModuleDef;

#define METH_VARARGS 0x0001
#define METH_NOARGS 0x0004
#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}
#define PyModule_Create(definition) PyModule_Create2(definition, 3)
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

extern int PyArg_ParseTuple(PyObject *, const char *, ...);
extern PyObject *PyLong_FromLong(long);
extern PyObject *Py_BuildValue(const char *, ...);
extern PyObject *PyModule_Create2(PyModuleDef *, int);

#endif
