package splade_bridge;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ParallelLeafReader;
import org.apache.lucene.index.SlowCodecReaderWrapper;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;

/**
 * Writes an impact index from a stream of ids and posting lists; its statistics are the answer.
 *
 * <p>Ids become an index of their own, beside which the lists are read while both are merged into
 * one segment: nothing is inverted here, and nothing of the lists is held but what was read last.
 */
final class BuildIndex {
  private BuildIndex() {}

  static void run(Path folder, int bufferMegabytes, InputStream requests, OutputStream answers)
      throws Exception {
    InputStream in = new BufferedInputStream(requests, 1 << 20);
    Frames frames = new Frames(in);
    Path aside = folder.resolve("ids");
    try (NewIndex ids = new NewIndex(aside, new ImpactSimilarity(), bufferMegabytes)) {
      for (byte[][] block = frames.ids(); block != null; block = frames.ids()) {
        for (byte[] id : block) {
          ids.add(id, null);
        }
      }
      ids.finish();
    }
    try (NewIndex index = new NewIndex(folder, new ImpactSimilarity(), bufferMegabytes)) {
      try (Directory directory = FSDirectory.open(aside);
          DirectoryReader ids = DirectoryReader.open(directory);
          ListsReader.Example example = new ListsReader.Example()) {
        List<LeafReaderContext> leaves = ids.leaves();
        if (leaves.size() != 1) {
          throw new IOException(leaves.size() + " segments of ids");
        }
        LeafReader[] stored = {leaves.get(0).reader()};
        LeafReader[] both = {stored[0], example.reader(frames, ids.maxDoc())};
        index.merge(SlowCodecReaderWrapper.wrap(new ParallelLeafReader(false, both, stored)));
      }
      Main.endWith(in);
      try (Directory directory = FSDirectory.open(aside)) {
        for (String file : directory.listAll()) {
          directory.deleteFile(file);
        }
      }
      Files.delete(aside);
      Answer held = index.finish();
      answers.write(held.array(), 0, held.size());
    }
  }
}
