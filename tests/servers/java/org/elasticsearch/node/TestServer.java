package org.elasticsearch.node;

import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.MockPluginsService;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;
import org.elasticsearch.transport.netty4.Netty4Plugin;
import org.elasticsearch.xpack.core.XPackClientPlugin;

/**
 * A node of Elasticsearch with its HTTP and its sparse vectors, from the published artifacts alone.
 *
 * <p>The distribution and its launcher are not published as artifacts, so the plugins are taken
 * from the class path. One class serves 8.19 and 9.5: it is compiled for Java 17 against 8.19.
 */
public final class TestServer extends Node {
  private TestServer(Environment environment) {
    super(
        NodeConstruction.prepareConstruction(
            environment,
            null,
            new NodeServiceProvider() {
              @Override
              PluginsService newPluginService(Environment of, PluginsLoader loader) {
                return new MockPluginsService(
                    of.settings(), of, List.of(Netty4Plugin.class, XPackClientPlugin.class));
              }
            },
            true));
  }

  /** Arguments: the folder of everything, the port of HTTP, that of the transport. */
  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]);
    Files.createDirectories(home.resolve("config"));
    Files.createDirectories(home.resolve("logs"));
    Settings settings =
        Settings.builder()
            .put("path.home", home)
            .put("path.logs", home.resolve("logs"))
            .put("cluster.name", "tests")
            .put("node.name", "tests")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", arguments[2])
            .put("discovery.type", "single-node")
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    for (Method method : LogConfigurator.class.getMethods()) {
      if (method.getName().equals("loadLog4jPlugins")) { // gone in 9
        method.invoke(null);
      }
    }
    LogConfigurator.configureESLogging();
    Node node = new TestServer(new Environment(settings, home.resolve("config")));
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  try {
                    node.close();
                  } catch (Exception error) {
                    error.printStackTrace();
                  }
                }));
    node.start();
    Thread.currentThread().join();
  }
}
