// What a test calls: every kernel by its name, with pointers to its arguments.

KERNEL(walk_float64)
KERNEL(walk_float32)
KERNEL(move_large_float64)
KERNEL(move_large_float32)
KERNEL(take_product_off_float64)
KERNEL(take_product_off_float32)
KERNEL(find_lengths_float64)
KERNEL(find_lengths_float32)
KERNEL(uniforms)
KERNEL(normals_float64)
KERNEL(normals_float32)

extern "C" const char *launch(const char *name, int blocks, int threads, size_t bytes, uint64_t order, void **arguments) {
    void (*function)(void **) = nullptr;
    if (!strcmp(name, "walk_float64")) function = call_walk_float64;
    if (!strcmp(name, "walk_float32")) function = call_walk_float32;
    if (!strcmp(name, "move_large_float64")) function = call_move_large_float64;
    if (!strcmp(name, "move_large_float32")) function = call_move_large_float32;
    if (!strcmp(name, "take_product_off_float64")) function = call_take_product_off_float64;
    if (!strcmp(name, "take_product_off_float32")) function = call_take_product_off_float32;
    if (!strcmp(name, "find_lengths_float64")) function = call_find_lengths_float64;
    if (!strcmp(name, "find_lengths_float32")) function = call_find_lengths_float32;
    if (!strcmp(name, "uniforms")) function = call_uniforms;
    if (!strcmp(name, "normals_float64")) function = call_normals_float64;
    if (!strcmp(name, "normals_float32")) function = call_normals_float32;
    return function ? emulation::launch(function, blocks, threads, bytes, order, arguments) : "no such kernel";
}

// Bytes of a block, shared and elsewhere, as the kernels themselves count them.
template <class real> static void count(int n, int d, int copies, int heads, size_t limit, size_t *found) {
    Room room = {nullptr, sizeof(Held<real>), limit, nullptr, 0};
    Held<real> held;
    held.place(room, Size(n, d), copies, heads);
    found[0] = room.used, found[1] = room.used_far;
}

extern "C" void counted_bytes(int n, int d, int copies, int heads, int single, size_t limit, size_t *found) {
    (single ? count<float> : count<double>)(n, d, copies, heads, limit, found);
}
