import com.yahoo.tensor.Tensor;
import com.yahoo.tensor.TensorType;
import com.yahoo.tensor.serialization.JsonFormat;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.StringJoiner;

/**
 * What Vespa's own classes read in a tensor of a document (its JSON) and of a query (its literal
 * form), for test_feed_engines.py: a line each of kind, tab, text; out comes an object a line.
 */
final class Tensors {
  public static void main(String[] args) throws Exception {
    TensorType type = TensorType.fromSpec("tensor<float>(term{})");
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (String line : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
      String[] told = line.split("\t", 2);
      Tensor tensor =
          told[0].equals("query")
              ? Tensor.from(type, told[1])
              : JsonFormat.decode(type, told[1].getBytes(StandardCharsets.UTF_8));
      StringJoiner cells = new StringJoiner(",", "{", "}");
      for (Iterator<Tensor.Cell> i = tensor.cellIterator(); i.hasNext(); ) {
        Tensor.Cell cell = i.next();
        cells.add(quoted(cell.getKey().label(0)) + ":" + cell.getValue().longValue());
      }
      out.println(cells);
    }
    out.flush();
  }

  private static String quoted(String label) {
    StringBuilder made = new StringBuilder("\"");
    for (char c : label.toCharArray()) {
      made.append(String.format("\\u%04x", (int) c));
    }
    return made.append('"').toString();
  }
}
