/* A qemu plugin that counts guest instructions. The program under test marks a place by asking for its session,
   getsid(0), which nothing else does; what the asking thread has executed so far is printed there (onnxruntime
   has a second thread, which wakes up at some time of the day and runs half a million instructions).
   Translation blocks are counted when they begin and a system call ends one, so that a mark is exact. The few
   functions of qemu's plugin interface that it needs are declared here, since Debian ships no header. */
#include <inttypes.h>
#include <stdio.h>

#define GETSID 156 /* Linux, asm-generic/unistd.h */
#define THREADS 256

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*on_syscall)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);
int qemu_plugin_version = PLUGIN_VERSION;
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *),
                                                 int flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, on_syscall cb);

static uint64_t executed[THREADS];

static void on_run(unsigned int cpu, void *count)
{
    executed[cpu % THREADS] += (uint64_t)(uintptr_t)count;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_run, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

static void on_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == GETSID && a1 == 0)
        fprintf(stderr, "instructions %" PRIu64 "\n", executed[cpu % THREADS]);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
