/* The program `pyinit` of the packages: CPython, libc and all modules in one static file.
 *
 * - Nothing is loaded at run time: no ELF interpreter, no shared library, no .py file. So the
 *   file runs at any path in any Linux image of its processor, and LD_PRELOAD, LD_LIBRARY_PATH
 *   and PYTHON* variables, which are meant for the workers, cannot reach PID 1.
 * - Signals are blocked from the first instruction on. The kernel drops a signal that the init
 *   of a PID namespace has no handler for (pid_namespaces(7)); a blocked one stays pending until
 *   scripts/pyinit has set its handlers and calls `_pyinit.unblock`.
 * - freeze.py writes `frozen` (all modules) and `_PyImport_Inittab` (those written in C).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <nss.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern const struct _frozen pyinit_frozen[];
extern const char pyinit_code[], pyinit_code_end[];

/* -- dlopen(3) without a loader: ctypes.CDLL(None) finds these functions and no others ------ */

extern const struct {
    const char *name;
    void *address;
} pyinit_functions[]; /* by freeze.py: each `libc.NAME` in entrypoint/ */
static char *dl_error;

void *dlopen(const char *file, int flags)
{
    (void)flags;
    if (file == NULL)
        return (void *)pyinit_functions;
    dl_error = "pyinit is a static program and loads no shared library";
    return NULL;
}

void *dlsym(void *restrict handle, const char *restrict name)
{
    (void)handle;
    for (size_t n = 0; pyinit_functions[n].name != NULL; n++)
        if (strcmp(pyinit_functions[n].name, name) == 0)
            return pyinit_functions[n].address;
    dl_error = "no such function: scripts/packages/freeze.py looks for `libc.NAME`";
    return NULL;
}

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

char *dlerror(void)
{
    char *error = dl_error;
    dl_error = NULL;
    return error;
}

int dladdr(const void *address, Dl_info *info)
{
    (void)address, (void)info;
    return 0;
}

/* -- the module `_pyinit` ------------------------------------------------------------------- */

static sigset_t inherited; /* The signal mask that this process was started with. */

static PyObject *unblock(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    if (sigprocmask(SIG_SETMASK, &inherited, NULL) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (PyErr_CheckSignals() != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *release_code(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    /* Modules that were imported are on the heap; a later import reads the file again. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)pyinit_code + page - 1) & -page;
    uintptr_t end = (uintptr_t)pyinit_code_end & -page;
    if (end > start)
        madvise((void *)start, end - start, MADV_DONTNEED);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"release_code", release_code, METH_NOARGS, "Unmap the modules' code; it is read again on demand."},
    {"unblock", unblock, METH_NOARGS, "Restore the signal mask that this process was started with."},
    {0},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_pyinit", .m_methods = methods};

PyObject *PyInit__pyinit(void)
{
    return PyModule_Create(&module);
}

/* -- main ------------------------------------------------------------------------------------ */

static int import_all(void)
{
    /* structlog is imported the way PID 1 does it, without asyncio: entrypoint/logs. */
    int failed = PyRun_SimpleString(
        "from entrypoint.logs.structlog_import import import_structlog as load\nload()\n"
        "from entrypoint.page.document import _read\n_read('index.html')\n");
    for (const struct _frozen *frozen = pyinit_frozen; frozen->name != NULL; frozen++) {
        PyObject *imported;
        if (strstr(frozen->name, "__main__") != NULL || strncmp(frozen->name, "structlog", 9) == 0)
            continue;
        imported = PyImport_ImportModule(frozen->name);
        if (imported == NULL) {
            fprintf(stderr, "%s:\n", frozen->name);
            PyErr_Print();
            failed = 1;
        }
        Py_XDECREF(imported);
    }
    return failed;
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

int main(int argc, char **argv)
{
    /* Faults are not blocked: a fault that is blocked kills without a trace. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t n = 0; n < sizeof faults / sizeof *faults; n++)
        sigdelset(&blocked, faults[n]);
    sigprocmask(SIG_BLOCK, &blocked, &inherited);

    /* An image's nsswitch.conf may name modules, which are shared libraries of its own libc. */
    static const char *databases[] = {"passwd", "group", "initgroups", "services", "protocols"};
    for (size_t n = 0; n < sizeof databases / sizeof *databases; n++)
        __nss_configure_lookup(databases[n], "files");
    __nss_configure_lookup("hosts", "files dns");

    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1; /* The locale's files belong to the image. */
    check(Py_PreInitialize(&preconfig));

    PyImport_FrozenModules = pyinit_frozen;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 1; /* Ignore SIGPIPE and SIGXFSZ, as `python3` does. */
    config.site_import = 0;
    config.write_bytecode = 0;
    config.module_search_paths_set = 1; /* and none is appended: sys.path is empty */
    check(PyConfig_SetString(&config, &config.home, L"/"));
    check(PyConfig_SetString(&config, &config.executable, L""));
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);

    if (argc == 1 && strcmp(argv[0], "pyinit-self-test") == 0)
        return import_all(); /* program.py, after a build */
    if (PyImport_ImportFrozenModule("__main__") < 0)
        PyErr_Print();
    return Py_FinalizeEx() < 0 ? 120 : 1; /* `main` leaves by _exit(2). */
}
