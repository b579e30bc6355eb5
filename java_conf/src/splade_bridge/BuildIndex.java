package splade_bridge;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.apache.lucene.util.BytesRef;

/** Writes an impact index from an impact stream; its statistics are the answer. */
final class BuildIndex {
  private BuildIndex() {}

  static void run(
      Path folder, int threads, int bufferMegabytes, InputStream requests, OutputStream answers)
      throws Exception {
    try (NewIndex index = new NewIndex(folder, new ImpactSimilarity(), bufferMegabytes)) {
      InputStream in = new BufferedInputStream(requests, 1 << 20);
      Frames frames = new Frames(in);
      if (threads == 1) { // keeps the order of the input
        for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
          add(index, terms(frames, rows), rows);
        }
      } else {
        addInParallel(index, frames, threads - 1); // this one reads and looks terms up
      }
      Main.endWith(in);
      Answer held = index.finish();
      answers.write(held.array(), 0, held.size());
    }
  }

  /** One writer keeps the order of the input; each further one makes segments that are merged. */
  private static void addInParallel(NewIndex index, Frames frames, int writers) throws Exception {
    ThreadPoolExecutor pool =
        new ThreadPoolExecutor(
            writers, writers, 0, TimeUnit.SECONDS, new ArrayBlockingQueue<>(2 * writers),
            (task, executor) -> waitForRoom(task, executor));
    List<Future<?>> open = new ArrayList<>();
    for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
      Frames.Rows block = rows;
      // Terms are looked up here: the table grows while other threads work.
      BytesRef[] terms = terms(frames, block);
      open.add(
          pool.submit(
              () -> {
                add(index, terms, block);
                return null;
              }));
      open.removeIf(f -> f.isDone() && succeeded(f));
    }
    pool.shutdown();
    for (Future<?> f : open) {
      f.get();
    }
  }

  private static void waitForRoom(Runnable task, ThreadPoolExecutor executor) {
    try {
      executor.getQueue().put(task);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static boolean succeeded(Future<?> done) {
    try {
      done.get();
      return true;
    } catch (InterruptedException | ExecutionException e) {
      throw new IllegalStateException(e.getCause() == null ? e : e.getCause());
    }
  }

  private static BytesRef[] terms(Frames frames, Frames.Rows rows) {
    BytesRef[] terms = new BytesRef[rows.terms.length];
    for (int i = 0; i < terms.length; i++) {
      terms[i] = frames.term(rows.terms[i]);
    }
    return terms;
  }

  private static void add(NewIndex index, BytesRef[] terms, Frames.Rows rows) throws IOException {
    FrequencyStream stream = new FrequencyStream();
    for (int i = 0; i < rows.ids.length; i++) {
      stream.set(terms, rows.impacts, rows.start[i], rows.start[i + 1]);
      index.add(rows.ids[i], stream);
    }
  }
}
