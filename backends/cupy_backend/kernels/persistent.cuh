// Many training steps of a network with hidden layers in one launch; the parameters stay on the chip meanwhile.  What
// follows is about one hidden layer; `persistent_layers.cuh` says what several change.
//
// One cluster of BLOCKS blocks trains a network.  A launch may have several clusters, each for a network of its own, with
// its own Arguments; they have nothing to do with each other.  The hidden units are shared out: a block has UNITS of them, with
// their columns of W1 (in registers), their biases and rows of W2, and all that the update rule remembers of these (in
// shared memory).  b2 is in every block, and each updates it alike.  So the first layer and the whole backward pass
// need no other block.  What is exchanged is the logits: each block computes what its units contribute to them, and
// sends it to all blocks.  From there on all blocks compute the same loss and the same gradient of the logits, bit for
// bit.
//
//   partial_sums     of z1 = x @ W1: those of the inputs that a warp has
//   activate         z1 and the output of the hidden units
//   send_logits      what this block's units contribute to the logits, to all blocks
//   evaluate_loss    the logits, their loss and gradient
//   gradients        of W2 and of z1
//   update           the gradient of W1, in the threads that have the weights, and the update of all parameters
//
// `persistent_first.cuh` says which weights of the first layer a thread has.  Units and inputs that only fill up have
// weights of zero, which are never updated.  So have threads to which none belong.
//
// A large batch is worked off in PARTS parts of PART_ROWS rows, one after the other, each as a batch of its own up to the
// gradients.  These are added up, those of W1 in registers, and the update follows the last part.  Then what is in
// shared memory need not have room for all rows.  Parts are counted through all batches; where a batch has one part,
// both numbers are the same.
//
// The arithmetic is that of `step.cuh`; sums over inputs, rows and blocks have a fixed order.
//
// A network that no cluster holds can have a cooperative grid of its own.  Everything is the same, except how the blocks
// exchange numbers (grid_exchange.cuh instead of cluster_exchange.cuh).
//
// Fixed when compiled: the sizes, the types REAL, SOURCE (of X) and TARGET, and the places AT_... in shared memory.
// `persistent_source.py` writes them before this file, and explains them.

namespace persistent {

// The steps of a launch.  What is said at each barrier: who wrote before it, who reads after it, and why what they read
// is not overwritten too early.
//
// Buffers with a side for even and one for odd parts are those that copies, masks and stores of other blocks fill
// ahead of time: rows, targets, masks, shares (but not those for owners), mbarriers.  The numbers of a batch and the sums
// over its weights have a side for even and one for odd batches.  The row numbers, which are copied two parts ahead and
// are still read in their own if X_BUFFERS is 0, have three slots.
//
// What follows says "step" for the work on a part.  "The next step" may be that of the same batch.
struct Launch : Layers {
    DEVICE Launch(const Arguments& arguments, unsigned char* shared) : Layers(arguments, shared) {}

    DEVICE void run() {
        // Earlier launches wrote these words.  In this one a single thread writes to `words`, after the barrier of the
        // cluster.
        if (a.words[HALT] != 0 && a.words[FAILED] >= 0) return;  // the same in all blocks
        if (first >= last) return;  // the network has fewer batches than others of this launch
        load();
        fetch_order(first);
        if (first + 1 < last) fetch_order(first + 1);
        copy_async_wait();
        __syncthreads();  // all threads have waited for their copies of row numbers, which any thread reads
        if (X_BUFFERS) fetch_rows(first);
        fetch_numbers(first);
        draw_masks(first);
        if (PENALIZED) {
            for_parameters([=](REAL& p, int, int flat) {
                const bool counts = flat >= 0 && flat < (rank ? SHARED_OUT : WEIGHTS);
                if (HIDDEN_LAYERS > 1) weigh(counts ? p : REAL(0));  // takes fewer registers than to leave it out
                else if (counts) weigh(p);
            });
            publish_weights();
        }
        copy_async_wait();
        // Within the block: the first rows, masks and parameters are in shared memory.  Between blocks: the mbarriers
        // to which they send exist, and all have read `words`, if they are those of a cluster.
        begin_exchange();

        unsigned int norms = 0;  // that have been exchanged
        for (int part = first; part < last; ++part) {
            int n = rows_of(part);
            recompute(n);  // or it would be computed again wherever it is used, from numbers that then need registers
            // The copies go to the sides and the slot that step part - 1 was the last to read; all threads have passed
            // the barrier at its end.  The numbers of a batch go where those of the batch before the last one were.
            if (part + 2 < last) fetch_order(part + 2);
            if (part + 1 < last) {
                if (X_BUFFERS == 2) fetch_rows(part + 1);
                fetch_numbers(part + 1);
            }
            partial_sums(part, n);
            // Any thread reads the partial sums of all warps.  They are written again in the next step.
            __syncthreads();
            activate(part, n);
            // Any thread reads the outputs of all units.  They are written again in the next step.
            __syncthreads();
            // The shares of step part, if they go to all blocks, go where those of part - 2 were, and the sums over
            // weights where those of two batches before were.  This block sends them after it has received all shares of
            // part - 1, or their sums.  Another block sent its own of these after the barrier at the end of its step
            // part - 2, so all its threads had read the shares of that step, and the phase of its mbarrier had ended.
            // Shares may come before the receiver expects them: its phase does not end before it does.  Parts without
            // rows, for which nobody sends and so in a cluster nobody waits, are only at the end of an epoch, and none
            // with rows follows them.
            if constexpr (HIDDEN_LAYERS == 1) send_logits(part, n);
            else send_shares(part, n);
            if (part + 1 < last) draw_masks(part + 1);  // read after the last barrier of the step
            if constexpr (BY_OWNERS) {
                // This thread reads shares that all blocks have sent to this one for its entries of z of layer 2.
                // There is one side for them: a block sends shares of part + 1 after it has received all sums of this
                // part, so all threads that add up shares have read theirs.  The phase does not end twice before this
                // thread sees its end: this block sends for part + 1 after the barrier at the end of this step.
                receive_owned(part);
                // The sums go to all blocks, where those of part - 1 were.  They contain shares of all blocks, and a
                // block sends its shares of this part after the barrier at the end of the step before: none of its
                // threads uses that place any more.
                send_sums<2>(part, n);
            }
            // This thread reads shares, or sums of them, that all blocks, its own too, have sent.  It cannot miss the
            // end of a later phase: no block sends for part + 2 before this one has sent for part + 1, after the
            // barrier at the end of this step.
            receive(part);
            // Each part of these ends with a barrier: any thread reads the outputs of all units of a layer.  They are
            // written again in the next step.
            if constexpr (HIDDEN_LAYERS > 1) forward<2>(part, n);
            evaluate_loss(part, n);
            // Any thread reads the gradient of the logits, and the sums of all warps.  They are written again in the
            // next step.
            __syncthreads();
            const int batch = batch_of(part);
            if (ends_batch(part)) {
                const double loss = total_loss(batch);  // the same in all blocks, so all of them halt
                if (rank == 0 && t == 0) a.losses[batch] = loss;
                if (!step::is_finite(loss)) {
                    if (rank == 0 && t == 0 && a.words[FAILED] < 0) a.words[FAILED] = batch;
                    if (a.words[HALT] != 0) break;
                }
            }
            const bool updates = normalizer(batch) > 0;
            if constexpr (HIDDEN_LAYERS == 1) {
                if (updates) gradients(part, n);
            } else if (updates) {
                // Each part of these ends with a barrier: any thread reads the gradients of z of a layer.  They are
                // written again in the next step.
                backward<HIDDEN_LAYERS + 1>(part, n);
                gradients_below(part, n);
            }
            // Any thread reads the gradients of z1 and of the weights above it; and these weights and the biases, which
            // others read before it, may change.
            __syncthreads();
            if (updates && KEEPS_GRADIENT) {
                keep_gradients(part, n);
                if constexpr (HIDDEN_LAYERS > 1)
                    if (!ends_batch(part)) keep_bias_gradients_of<3>(part, n);
            }
            const bool changes = updates && ends_batch(part);
            if (changes && BY_NORM) {
                if constexpr (HIDDEN_LAYERS > 1) update_of<3, true>(part, n);
                update<true>(part, n);
                publish_norm();
                // One thread reads the sums of all warps.  They are written again in the next step.
                __syncthreads();
                // The sums go where those of an earlier step were.  This block sends them after it has received all
                // shares of this step, or their sums, and others sent shares after the barrier at the end of the step
                // before.
                send_norm_of_block(part);
                receive_norms(part, norms++);
                read_norm();
            }
            if (changes) {
                if constexpr (HIDDEN_LAYERS > 1) update_of<3, false>(part, n);
                update<false>(part, n);
                if (PENALIZED) publish_weights();
            }
            if (X_BUFFERS == 1 && part + 1 < last) {
                __syncthreads();  // no thread reads the rows of this part any more
                fetch_rows(part + 1);
            }
            copy_async_wait();
            // All that other threads copied for the next part is there, and all parameters are updated.  What this
            // step read may be overwritten.
            __syncthreads();
        }
        copy_async_wait();  // if the loop was left early
        // The parameters and states that a thread stores are its own, but those in shared memory may have been changed
        // by others: before the barrier above, or not since they were loaded.
        store();
        if (rank == 0 && t == 0) a.words[NEXT_BATCH] = batch_of(last);
        // A block may end before the others: what they were to send to it has come, since it waited for every step.
    }
};

}  // namespace persistent
