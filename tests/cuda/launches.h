// What a test calls: every kernel by its name, with pointers to its arguments.

KERNEL(walk_float64)
KERNEL(walk_float32)
KERNEL(uniforms)
KERNEL(normals_float64)
KERNEL(normals_float32)

extern "C" const char *launch(const char *name, int blocks, int threads, size_t bytes, uint64_t order, void **arguments) {
    void (*function)(void **) = nullptr;
    if (!strcmp(name, "walk_float64")) function = call_walk_float64;
    if (!strcmp(name, "walk_float32")) function = call_walk_float32;
    if (!strcmp(name, "uniforms")) function = call_uniforms;
    if (!strcmp(name, "normals_float64")) function = call_normals_float64;
    if (!strcmp(name, "normals_float32")) function = call_normals_float32;
    return function ? emulation::launch(function, blocks, threads, bytes, order, arguments) : "no such kernel";
}

// Bytes of a block, as the kernels themselves count them.
extern "C" size_t counted_bytes(int n, int d, int copies, int with_copies, int single) {
    Room room = {nullptr, single ? sizeof(Held<float>) : sizeof(Held<double>)};
    Held<double> held;
    Held<float> held32;
    if (single)
        held32.place(room, Size(n, d), copies, with_copies);
    else
        held.place(room, Size(n, d), copies, with_copies);
    return room.used;
}
