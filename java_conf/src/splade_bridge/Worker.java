package splade_bridge;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Answers requests about one open index until the request pipe ends. Little-endian:
 *
 * <pre>
 * request: int32 bytes that follow, int64 number, int64 call, int32 threads, byte method, content
 * answer:  int32 bytes that follow, int64 number, byte 0 (done) or 1 (failed), content or message
 * </pre>
 *
 * Answer 0 comes first and says whether the index is open. Requests of one call are begun in their
 * order, at most {@code threads} of them at once; those of several calls go on side by side, and
 * answers come as they are ready. The asker limits how many it has open.
 */
final class Worker {
  private final OpenIndex index;
  private final BlockingQueue<Answer> answers = new LinkedBlockingQueue<>();
  private final ExecutorService pool;
  private final Map<Long, Lane> lanes = new HashMap<>();

  private Worker(OpenIndex index) {
    this.index = index;
    this.pool =
        Executors.newCachedThreadPool(
            task -> {
              Thread thread = new Thread(task);
              thread.setDaemon(true);
              return thread;
            });
  }

  static void run(Path folder, InputStream requests, OutputStream answers) throws IOException {
    OutputStream out = new BufferedOutputStream(answers, 1 << 16);
    OpenIndex index;
    try {
      index = new OpenIndex(folder);
    } catch (Exception | LinkageError e) {
      write(out, failure(0, e));
      out.flush();
      return;
    }
    Worker worker = new Worker(index);
    write(out, finished(start(0)));
    out.flush();
    Thread writer = new Thread(() -> worker.writeAnswers(out));
    writer.setDaemon(true);
    writer.start();
    worker.readRequests(new DataInputStream(new BufferedInputStream(requests, 1 << 16)));
    Runtime.getRuntime().halt(0);
  }

  /** Ends at the end of the pipe, in the middle of a request too: its owner is gone. */
  private void readRequests(DataInputStream in) throws IOException {
    byte[] head = new byte[4];
    while (in.readNBytes(head, 0, 4) == 4) {
      int size = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getInt();
      byte[] content = in.readNBytes(size);
      if (content.length != size) {
        return;
      }
      ByteBuffer request = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN);
      long number = request.getLong();
      long call = request.getLong();
      int threads = request.getInt();
      begin(call, threads, () -> answers.add(answer(number, request)));
    }
  }

  private Answer answer(long number, ByteBuffer request) {
    try {
      return finished(index.answer(request.get(), request, start(number)));
    } catch (Exception | LinkageError | StackOverflowError e) {
      return failure(number, e);
    }
  }

  private static Answer start(long number) {
    return new Answer().putInt(0).putLong(number).putByte(0);
  }

  private static Answer finished(Answer answer) {
    answer.setInt(0, answer.size() - 4);
    return answer;
  }

  private static Answer failure(long number, Throwable e) {
    String message = e.getClass().getSimpleName() + ": " + e.getMessage();
    return finished(
        new Answer().putInt(0).putLong(number).putByte(1).put(message.getBytes(StandardCharsets.UTF_8)));
  }

  private void writeAnswers(OutputStream out) {
    try {
      while (true) {
        write(out, answers.take());
        if (answers.isEmpty()) {
          out.flush();
        }
      }
    } catch (IOException | InterruptedException e) {
      Runtime.getRuntime().halt(0); // nobody reads any more
    }
  }

  private static void write(OutputStream out, Answer answer) throws IOException {
    out.write(answer.array(), 0, answer.size());
  }

  /** What waits of one call. */
  private static final class Lane {
    final ArrayDeque<Runnable> waiting = new ArrayDeque<>();
    int running;
  }

  private void begin(long call, int threads, Runnable task) {
    synchronized (lanes) {
      Lane lane = lanes.computeIfAbsent(call, unused -> new Lane());
      if (lane.running == threads) {
        lane.waiting.add(task);
        return;
      }
      lane.running++;
    }
    pool.execute(() -> work(call, task));
  }

  private void work(long call, Runnable first) {
    for (Runnable task = first; task != null; task = next(call)) {
      task.run();
    }
  }

  private Runnable next(long call) {
    synchronized (lanes) {
      Lane lane = lanes.get(call);
      Runnable task = lane.waiting.poll();
      if (task == null && --lane.running == 0) {
        lanes.remove(call);
      }
      return task;
    }
  }
}
